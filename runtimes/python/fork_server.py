"""The fork server of the python kinds: an interpreter with the launcher loaded, which becomes the program of cell
after cell by forking. Started by the sandbox helper, which trusts it; it never runs an action's code itself.

    python -I -S -B -X utf8 fork_server.py launcher.py

On fd 3 is a sequenced-packet socket to the helper. It says "Ready" once; then each message from there is one
birth: {"calls": […], "entrances": N, "awaits_files": …} with descriptors beside it: of the cell's first process, of
N control groups to enter by writing, and what shall be descriptors 0, 1, 2, … of the program; or, if it awaits
them, the one socket by which they will come. It is answered by
{"Forked": {"pid": its number inside the cell}} or {"Refused": {"reason": text}}.

A birth forks twice. The first child is born into the cell's process namespace, enters its other namespaces and
groups, and makes the calls of the message: the same by which the cell's first process gave up its own rights.
The second one inherits all that, and is the program; with the end of the first it becomes a child of the cell's
first process, so nothing of the server's is left in the cell.
"""

import sys


def load_launcher(path):
    """The launcher as it would be if it had been started, just before its `main`."""
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    module = type(sys)("launcher")
    module.__file__ = path
    exec(code, module.__dict__)
    module.__name__ = "__main__"
    sys.modules["__main__"] = module
    sys.argv = [path]
    return module


launcher = load_launcher(sys.argv[1])
# What a launcher has loaded. What follows is for the server alone, and functions shall not find it loaded: they may
# have modules of the same names.
USUAL = set(sys.modules)

import _socket
import ctypes
import fcntl
import gc
import io
import os

CONTROL = 3
MAX_MESSAGE = 128 * 1024
MAX_DESCRIPTORS = 17
# Descriptors from here on are free while others are moved.
ASIDE = 64
# Kinds of namespaces, as the kernel numbers them.
NEW_MOUNTS, NEW_GROUPS, NEW_NAMES, NEW_QUEUES = 0x20000, 0x2000000, 0x4000000, 0x8000000
NEW_USERS, NEW_PROCESSES, NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000
ALL_BUT_PROCESSES = NEW_MOUNTS | NEW_GROUPS | NEW_NAMES | NEW_QUEUES | NEW_USERS | NEW_NETWORK
SET_DUMPABLE = 4

libc = ctypes.PyDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class FilterProgram(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]


def check(outcome, what):
    if outcome == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def enter(process, namespaces, what):
    check(libc.setns(process, namespaces), what)


def prepare(call):
    """One system call of a message, as arguments for the C library."""
    values, kept = [ctypes.c_long(call["number"])], []
    for argument in call["arguments"]:
        ((kind, value),) = argument.items()
        if kind == "number":
            values.append(ctypes.c_ulong(value))
            continue
        data = ctypes.create_string_buffer(bytes(value), len(value))
        kept.append(data)
        if kind == "filter":
            data = FilterProgram(len(value) // 8, ctypes.addressof(data))
            kept.append(data)
        values.append(ctypes.byref(data))
    return call["what"], values, kept


class Message:
    """What is asked, in the form in which it is done."""

    def __init__(self, data):
        message = launcher.parse_json(data.decode())
        self.data = data
        self.entrances = message["entrances"]
        self.awaits_files = message["awaits_files"]
        self.calls = [prepare(call) for call in message["calls"]]


def receive(channel, last):
    """The next message, which is mostly the `last` one again, and its descriptors; (None, []) when the helper is gone."""
    data, files = receive_files(channel)
    if not data:
        return None, []
    return (last if last and last.data == data else Message(data)), files


def receive_files(channel):
    data, ancillary, _, _ = channel.recvmsg(MAX_MESSAGE, _socket.CMSG_SPACE(4 * MAX_DESCRIPTORS))
    files = []
    for _, _, rights in ancillary:
        files += [int.from_bytes(rights[start : start + 4], sys.byteorder) for start in range(0, len(rights) & ~3, 4)]
    return data, files


def await_files(number):
    """The files of this process, which come by the socket of this number; without them it ends."""
    # Meanwhile it holds nothing of the server's.
    os.dup2(number, 0)
    os.closerange(1, os.sysconf("SC_OPEN_MAX"))
    channel = _socket.socket(fileno=0)
    _, files = receive_files(channel)
    if not files:
        os._exit(0)
    channel.detach()
    return files


def move_in(message, cell, entrances):
    """The first child's way into the cell."""
    for entrance in entrances:
        os.write(entrance, b"0")
    enter(cell, ALL_BUT_PROCESSES, "entering the cell")
    for what, values, _ in message.calls:
        check(libc.syscall(*values), what)


def bear(message, descriptors):
    """Forks the program of a cell. Returns the answer; in the program itself, None."""
    cell, rest = descriptors[0], descriptors[1:]
    entrances, files = rest[: message.entrances], rest[message.entrances :]
    words, their_words = os.pipe()
    try:
        enter(cell, NEW_PROCESSES, "entering the cell's processes")
        child = os.fork()
    except OSError as error:
        child = said = f"-{error}"
    if child == 0:
        fork_inside(message, cell, entrances, their_words)
        take_place(await_files(files[0]) if message.awaits_files else files)
        return None
    os.close(their_words)
    if isinstance(child, int):
        os.waitpid(child, 0)
        # Its words are there, or there are none: the program may hold the other end for a moment yet.
        os.set_blocking(words, False)
        said = read_words(words)
    os.close(words)
    if said.isdigit():
        return {"Forked": {"pid": int(said)}}
    return {"Refused": {"reason": said[1:] or "the first child was ended"}}


def read_words(pipe):
    try:
        return os.read(pipe, 1024).decode()
    except BlockingIOError:
        return ""


def fork_inside(message, cell, entrances, words):
    """The first child: moves into the cell and forks the program there; returns in the program alone."""
    try:
        move_in(message, cell, entrances)
        program = os.fork()
    except BaseException as error:
        os.write(words, f"-{error}".encode())
        os._exit(1)
    if program:
        os.write(words, str(program).encode())
        os._exit(0)


def take_place(files):
    """Makes these files descriptors 0, 1, 2, … of this process, and closes all others."""
    aside = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, ASIDE) for file in files]
    for number, file in enumerate(aside):
        os.dup2(file, number)
    os.closerange(len(files), os.sysconf("SC_OPEN_MAX"))
    # The streams know what they were opened on, and whether one can seek there.
    sys.stdin = sys.__stdin__ = stream(0, "<stdin>", "rb")
    sys.stdout = sys.__stdout__ = stream(1, "<stdout>", "wb")
    sys.stderr = sys.__stderr__ = stream(2, "<stderr>", "wb")
    # As after an `exec`: the program may look at itself.
    check(libc.prctl(SET_DUMPABLE, 1, 0, 0, 0), "being seen")


def stream(number, name, mode):
    """A standard stream as the interpreter makes it."""
    binary = io.open(number, mode, closefd=False)
    binary.raw.name = name
    text = io.TextIOWrapper(binary, encoding="utf-8", newline="\n" if mode == "wb" else None)
    text.mode = mode[0]
    return text


def serve():
    """Serves the helper until it is gone; returns in each program that is born."""
    own, folder = os.pidfd_open(os.getpid()), os.getcwd()
    channel = _socket.socket(fileno=CONTROL)
    # What is there now stays for good: collecting it again would only copy memory that is shared.
    gc.collect()
    gc.freeze()
    channel.send(b'"Ready"')
    message = None
    while True:
        message, descriptors = receive(channel, message)
        if message is None:
            os._exit(0)
        answer = bear(message, descriptors)
        if answer is None:
            channel.detach()
            os.chdir(folder)
            return
        enter(own, NEW_PROCESSES, "coming back")
        for descriptor in descriptors:
            os.close(descriptor)
        channel.send(launcher.to_json(answer).encode())


if __name__ == "__main__":
    serve()
    for name in set(sys.modules) - USUAL:
        del sys.modules[name]
    try:
        launcher.main()
    except BaseException as error:
        launcher.print_exception(error)
    os._exit(1)
