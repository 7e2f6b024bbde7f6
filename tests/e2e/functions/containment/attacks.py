# What a hostile function in Python may try. Every attack is bounded: where it succeeds it stops by itself.
# Answers {"escaped": bool, "how": text}; an attack that is stopped by the end of its sandbox answers nothing.
import ctypes
import os
import re
import signal
import socket
import subprocess
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
MEGABYTE = 1 << 20
SHARED_KEY = 0x5EC7
TRACE_SEIZE = 0x4206


def outcome(escaped, how):
    return {"escaped": bool(escaped), "how": str(how)}


def in_child(deed):
    """What `deed` gives in a process of its own, as text; empty if that does not live to tell."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            told = deed()
        except Exception as error:
            told = f"no: {error}"
        os.write(writer, str(told).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read().decode()
    os.waitpid(child, 0)
    return told


# System calls as data: calls separated by ";", each its number and arguments. An argument is a number, "s:text",
# "z:length" for zeros, "x:hex" for bytes, "@" or "@:hex" for memory that all calls share, or "$", the result of the call
# before. "=errno" at the end wants this very failure.
def calls(args):
    shared = ctypes.create_string_buffer(512)

    def argument(word, last):
        if word == "$":
            return ctypes.c_long(last)
        if word.startswith("@"):
            content = bytes.fromhex(word[2:])
            if content:
                ctypes.memmove(shared, content, len(content))
            return ctypes.byref(shared)
        if word.startswith("s:"):
            return ctypes.create_string_buffer(word[2:].encode())
        if word.startswith("z:"):
            return ctypes.create_string_buffer(int(word[2:]))
        if word.startswith("x:"):
            return ctypes.create_string_buffer(bytes.fromhex(word[2:]))
        return ctypes.c_long(int(word, 0))

    def make():
        last, itself = 0, os.getpid()
        for call in args["calls"].split(";"):
            words = call.split()
            wanted = int(words.pop()[1:]) if words[-1].startswith("=") else None
            ctypes.set_errno(0)
            last = LIBC.syscall(*[argument(word, last) for word in words])
            error = ctypes.get_errno()
            if os.getpid() != itself:
                os._exit(0)
            if wanted is not None and last < 0 and error == wanted:
                continue
            if last < 0:
                return f"no: call {words[0]}: {os.strerror(error)}"
        return "yes"

    told = in_child(make)
    return outcome(told == "yes", told)


def processes(args):
    children, why = [], "as many as wanted"
    while len(children) < args["count"]:
        try:
            child = os.fork()
        except OSError as error:
            why = error
            break
        if child == 0:
            signal.pause()
            os._exit(0)
        children.append(child)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return outcome(len(children) >= args["count"], f"{len(children)} processes, {why}")


def threads(args):
    done, started, why = threading.Event(), 0, "as many as wanted"
    threading.stack_size(65536)
    try:
        for _ in range(args["count"]):
            threading.Thread(target=done.wait, daemon=True).start()
            started += 1
    except RuntimeError as error:
        why = error
    done.set()
    return outcome(started >= args["count"], f"{started} threads, {why}")


def memory(args):
    hoard = []
    for _ in range(args["megabytes"]):
        hoard.append(b"x" * MEGABYTE)
        if args.get("slowly"):
            time.sleep(0.001)
    return outcome(True, f"{len(hoard)} MB held")


def memory_in_files(args):
    fd, piece = os.memfd_create("hoard"), b"x" * MEGABYTE
    for _ in range(args["megabytes"]):
        os.write(fd, piece)
    return outcome(True, f"{args['megabytes']} MB in a file without a name")


def fill_all(args):
    """Fills folders one after the other, and keeps what is in them."""
    piece, written = b"x" * MEGABYTE, 0
    for folder in args["folders"]:
        with open(f"{folder}/hoard", "wb", buffering=0) as file:
            for _ in range(args["megabytes"]):
                file.write(piece)
                written += 1
    return outcome(True, f"{written} MB in {args['folders']}")


def fill(args):
    piece, written, why = b"x" * MEGABYTE, 0, "as much as wanted"
    with open(f"{args['folder']}/full", "wb", buffering=0) as file:
        try:
            while written < args["megabytes"]:
                file.write(piece)
                written += 1
        except OSError as error:
            why = error
    os.unlink(f"{args['folder']}/full")
    return outcome(written >= args["megabytes"], f"{written} MB in {args['folder']}, {why}")


def inodes(args):
    made, why = 0, "as many as wanted"
    try:
        for made in range(1, args["count"] + 1):
            os.close(os.open(f"{args['folder']}/empty-{made}", os.O_CREAT | os.O_WRONLY))
    except OSError as error:
        why, made = error, made - 1
    for number in range(1, made + 1):
        os.unlink(f"{args['folder']}/empty-{number}")
    return outcome(made >= args["count"], f"{made} files, {why}")


def descriptors(args):
    import resource
    held, why = [], "as many as wanted"
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (args["count"] + 64, args["count"] + 64))
    except (OSError, ValueError) as error:
        why = error
    try:
        while len(held) < args["count"]:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        why = error
    for fd in held:
        os.close(fd)
    return outcome(len(held) >= args["count"], f"{len(held)} descriptors, {why}")


def watches(args):
    """Holds as many watchers of files as it gets, by as many processes as that takes; or looks whether one is left."""
    if not args.get("hold"):
        watcher = LIBC.syscall(args["call"], 0)
        return outcome(watcher < 0, f"a watcher: {watcher}, {os.strerror(ctypes.get_errno())}")
    held, some = 0, 1
    while some and held < args["count"]:
        reader, writer = os.pipe()
        if os.fork() == 0:
            own = 0
            while own < 900 and LIBC.syscall(args["call"], 0) >= 0:
                own += 1
            os.write(writer, str(own).encode())
            signal.pause()
        some = int(os.read(reader, 16))
        held += some
    return outcome(False, f"{held} watchers")


def lines_of(args):
    """Whether a file of the kernel has lines of some beginning that do not look as they should."""
    lines = [line for line in text_of(args["path"]).decode().splitlines() if line.startswith(args["begin"])]
    wrong = [line for line in lines if not re.search(args["like"], line)]
    return outcome(wrong or not lines, f"{wrong or lines[:2]}")


def spin(args):
    """Uses one processor with many processes between two points of time; how much of it they had, in milliseconds."""
    late = time.time() > args["from"]
    used = []
    for _ in range(args["count"]):
        def work():
            os.sched_setaffinity(0, {args["processor"]})
            while time.time() < args["from"]:
                time.sleep(0.001)
            before = time.process_time()
            while time.time() < args["until"]:
                pass
            return int((time.process_time() - before) * 1000)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, str(work()).encode())
            os._exit(0)
        os.close(writer)
        used.append((child, reader))
    total = 0
    for child, reader in used:
        with os.fdopen(reader) as pipe:
            total += int(pipe.read())
        os.waitpid(child, 0)
    return {"late": late, "used": total}


def rename_to(name):
    LIBC.prctl(15, name.encode(), 0, 0, 0)


def ignore_the_end(args):
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    rename_to(args["name"])
    while True:
        time.sleep(0.05)


def daemon(args):
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            rename_to(args["name"])
            os.write(writer, b"up")
            for fd in range(1024):
                try:
                    os.close(fd)
                except OSError:
                    pass
            time.sleep(600)
        os._exit(0)
    os.wait()
    os.read(reader, 2)
    return outcome(False, "whether it lives on is seen from outside")


TICKS = []


def time_bomb(args):
    """Sets a clock going that a later call looks at: how often it ran within an interval that nobody paid for."""
    if "from" not in args:
        def tick():
            while True:
                TICKS.append(time.time())
                time.sleep(0.01)
        threading.Thread(target=tick, daemon=True).start()
        return outcome(False, "the clock is set")
    within = [tick for tick in TICKS if args["from"] < tick < args["until"]]
    return outcome(len(within) >= args["enough"], f"ran {len(within)} times while nobody had called")


def others():
    """Numbers of processes that are not of this function."""
    own = {os.getpid()}
    numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [number for number in numbers if number not in own]


def text_of(path):
    try:
        with open(path, "rb") as file:
            return file.read(65536)
    except OSError:
        return b""


def neighbour(args):
    """The process of another function that has this name in its environment."""
    mark = (args["mark"] + "=").encode()
    for number in others():
        for entry in text_of(f"/proc/{number}/environ").split(b"\0"):
            if entry.startswith(mark):
                return number, entry[len(mark):].decode()
    return None, None


def environment(args):
    number, secret = neighbour(args)
    return outcome(number, f"process {number} has {secret}" if number else f"only {others()} are seen")


def command_line(args):
    """Whether a process is seen that was started by this command line."""
    lines = [text_of(f"/proc/{number}/cmdline").rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
             for number in others()]
    return outcome(args["mark"] in lines, f"{len(lines)} are seen")


def write_for_a_neighbour(args):
    """Prints a line where another function prints."""
    number, _ = neighbour(args)
    if number is None:
        return outcome(False, "no neighbour is seen")
    try:
        fd = os.open(f"/proc/{number}/fd/1", os.O_WRONLY)
        return outcome(os.write(fd, b"a line of somebody else\n") > 0, "printed for a neighbour")
    except OSError as error:
        return outcome(False, error)


def signal_the_parents(args):
    """Whether processes above this function take signals, beside those of its own sandbox: its launcher and the first."""
    taken, process = [], os.getpid()
    while process > 1:
        process = int((text_of(f"/proc/{process}/stat").rsplit(b")", 1)[-1].split() or [0, 0])[1])
        name = text_of(f"/proc/{process}/comm").decode().strip()
        try:
            if process > 1 and name.startswith("chasen"):
                os.kill(process, 0)
                taken.append(f"{process} {name}")
        except OSError:
            pass
    return outcome(len(taken) > 1, f"{taken} take signals")


def kill_neighbour(args):
    number, _ = neighbour(args)
    if number is None:
        return outcome(False, "no neighbour is seen")
    os.kill(number, signal.SIGKILL)
    return outcome(True, f"killed {number}")


def trace_neighbour(args):
    number, _ = neighbour(args)
    told = in_child(lambda: "yes" if LIBC.ptrace(TRACE_SEIZE, number or 1, 0, 0) == 0
                    else f"no: {os.strerror(ctypes.get_errno())}")
    return outcome(number and told == "yes", f"tracing {number}: {told}")


def signal_the_node(args):
    try:
        os.kill(args["process"], 0)
        return outcome(True, f"process {args['process']} takes signals")
    except OSError as error:
        return outcome(False, error)


def set_user_program(args):
    for program in args["programs"]:
        try:
            child = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
        except OSError:
            continue
        user = "none"
        for _ in range(200):
            status = text_of(f"/proc/{child.pid}/status").decode()
            user = next((line.split()[2] for line in status.splitlines() if line.startswith("Uid:")), user)
            if user == "0" or child.poll() is not None:
                break
            time.sleep(0.005)
        child.kill()
        child.wait()
        if user == "0":
            return outcome(True, f"{program} runs as root")
    return outcome(False, "no program runs as root")


def core_dump(args):
    import resource
    seen = []
    for limit in (resource.RLIM_INFINITY, 0):
        child = os.fork()
        if child == 0:
            os.chdir("/tmp")
            try:
                resource.setrlimit(resource.RLIMIT_CORE, (limit, resource.RLIM_INFINITY))
            except (OSError, ValueError):
                pass
            os.kill(os.getpid(), signal.SIGSEGV)
        _, status = os.waitpid(child, 0)
        seen.append(os.WCOREDUMP(status))
    return outcome(any(seen), f"left something behind: {seen}")


def leave(args):
    left = []
    for path in args["paths"]:
        try:
            with open(path, "w") as file:
                file.write(args["text"])
            left.append(path)
        except OSError:
            pass
    return outcome(bool(left), f"left {left}")


def find(args):
    found = [path for path in args["paths"] if args["text"].encode() in text_of(path)]
    return outcome(bool(found), f"found {found}")


def search(args):
    """Looks for a text in all files below some folders."""
    seen = 0
    for top in args["paths"]:
        for folder, _, names in os.walk(top):
            for name in names:
                seen += 1
                if args["text"].encode() in text_of(f"{folder}/{name}"):
                    return outcome(True, f"found in {folder}/{name}")
    return outcome(False, f"{seen} files seen")


def create(args):
    made = []
    for path in args["paths"]:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            os.unlink(path)
            made.append(path)
        except OSError:
            pass
    return outcome(bool(made), f"made {made}")


def open_to_write(args):
    """Writes what the kernel's files say back to them, as root if that can be had."""
    def attempt():
        try:
            os.setresuid(0, 0, 0)
        except OSError:
            pass
        done = []
        for path in args["paths"]:
            try:
                said = text_of(path)
                fd = os.open(path, os.O_WRONLY)
                if said:
                    os.write(fd, said)
                done.append(path)
            except OSError:
                pass
        return "yes: " + " ".join(done) if done else "no"
    told = in_child(attempt)
    return outcome(told.startswith("yes"), told)


def shared_memory(args):
    if args.get("leave"):
        number = LIBC.shmget(SHARED_KEY, 4096, 0o1000 | 0o666)
        return outcome(number >= 0, f"segment {number}")
    number = LIBC.shmget(SHARED_KEY, 0, 0)
    if number >= 0:
        LIBC.shmctl(number, 0, None)
    return outcome(number >= 0, f"segment {number}")


def connect(args):
    reached = []
    for target in args["targets"]:
        with socket.socket() as client:
            client.settimeout(args["patience"])
            try:
                client.connect((target["host"], target["port"]))
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                if client.recv(1):
                    reached.append(target)
            except OSError:
                pass
    return outcome(bool(reached), f"reached {reached}")


def connections(args):
    """Opens connections and ends them: the machine remembers each for a while. Whether there were more in that time than
    there may be."""
    opened, begun, why, too_many = 0, time.monotonic(), "as many as wanted", False
    try:
        while opened < args["count"] and not too_many:
            socket.create_connection((args["host"], args["port"]), 20).close()
            opened += 1
            too_many = opened > args["at_once"] + args["per_second"] * (time.monotonic() - begun)
    except OSError as error:
        why = error
    return outcome(too_many, f"{opened} connections in {time.monotonic() - begun:.1f} s, {why}")


def abstract_socket(args):
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect("\0" + args["name"])
            return outcome(True, "connected")
        except OSError as error:
            return outcome(False, error)


def flood_of_log(args):
    piece = ("x" * 1023 + ("\n" if args["lines"] else "x")).encode() * 1024
    for _ in range(args["megabytes"]):
        os.write(1, piece)
    return outcome(False, "how much is kept is seen from outside")


FLOOD = []


def flood_later(args):
    """Answers, and prints what it has to print from then on; the next call waits for the end of that."""
    if not args.get("rest"):
        FLOOD.append(threading.Thread(target=flood_of_log, args=({**args, "lines": False},)))
        FLOOD[0].start()
    else:
        FLOOD[0].join()
    return outcome(False, "how much is kept is seen from outside")


def forged_reply(args):
    """Answers in the name of an activation that is not this one."""
    payload = b'{"escaped":true,"how":"a reply in the name of another activation was taken"}'
    os.write(3, (17 + len(payload)).to_bytes(4, "big") + b"\x05" + bytes([7] * 16) + payload)
    time.sleep(600)


def main(args):
    return globals()[args["attack"]](args)
