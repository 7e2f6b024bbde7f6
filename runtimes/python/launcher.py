"""Launcher of the python kinds: owns one action inside a sandbox and answers frames on fd 3.

A frame is u32 length (big endian, of all that follows), u8 kind, 16 bytes of activation id, payload.
Order of events: Hello out; Init in, Initialized or DeveloperError out; then Run in, Result or
DeveloperError out, as often as asked: one at a time, or up to the `concurrency` that Init names at once,
which is the matter of `overlap.py`. End of file on fd 3 ends the process.

Started as `python -I -S -B -X utf8 launcher.py`: nothing of the host's own packages is on the path. Only
what a stem cell needs is imported here; `json`, `traceback` and `asyncio` (with all they pull in) would
double the time until Hello, which is part of every cold start.
"""

import _sitebuiltins
import _thread
import builtins
import os
import sys

CHANNEL = 3
HEADER_LENGTH = 21
MAX_PAYLOAD = 256 * 1024 * 1024
READ_SIZE = 1024 * 1024
HELLO, INIT, INITIALIZED, RUN, RESULT, DEVELOPER_ERROR, LOG = range(1, 8)

CANNOT_START = "Cannot start action. Check logs for details."
CANNOT_COMPILE = "The action failed to generate or locate a binary. See logs for details."

# ---- JSON ---------------------------------------------------------------------------------------

try:
    from _json import encode_basestring, make_encoder, make_scanner
except ImportError:
    make_scanner = None


def refuse_value(value):
    """The `default` hook of the encoder: says which type is not JSON."""
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


if make_scanner is None:
    import json

    parse_json = json.loads

    def to_json(value):
        """JSON text of `value`; raises ValueError or TypeError where there is none."""
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

else:
    # The interpreter's own accelerators, without the modules around them.
    class _ParseOptions:
        strict = True
        object_hook = None
        object_pairs_hook = None
        parse_float = float
        parse_int = int
        parse_constant = float

    _scan = make_scanner(_ParseOptions)

    def parse_json(text):
        """The value of a JSON text; raises ValueError where it is none."""
        text = text.strip(" \t\r\n")
        try:
            value, end = _scan(text, 0)
        except StopIteration:
            end = -1
        if end != len(text):
            raise ValueError("not one JSON value")
        return value

    def to_json(value):
        """JSON text of `value`; raises ValueError or TypeError where there is none."""
        encode = make_encoder({}, refuse_value, encode_basestring, None, ":", ",", False, False, False)
        return "".join(encode(value, 0))


# ---- channel ------------------------------------------------------------------------------------


def read_exactly(size):
    """`size` bytes from the channel, or None when it ended."""
    buffer = bytearray()
    while len(buffer) < size:
        chunk = os.read(CHANNEL, min(size - len(buffer), READ_SIZE))
        if not chunk:
            return None
        buffer += chunk
    return buffer


def read_frame():
    """The next (kind, activation id, payload), or None at the end of the channel."""
    header = read_exactly(HEADER_LENGTH)
    if header is None:
        return None
    size = int.from_bytes(header[:4], "big") - (HEADER_LENGTH - 4)
    if not 0 <= size <= MAX_PAYLOAD:
        fail(f"a frame announces {size} bytes of payload, allowed are 0 to {MAX_PAYLOAD}")
    payload = read_exactly(size)
    return None if payload is None else (header[4], bytes(header[5:]), payload)


# Held while a frame is written: runs that overlap answer from several threads.
writing = _thread.allocate_lock()


def write_frame(kind, activation_id, payload):
    """Writes one frame with this payload of bytes."""
    header = (HEADER_LENGTH - 4 + len(payload)).to_bytes(4, "big") + bytes([kind]) + activation_id
    rest = memoryview(header + payload)
    with writing:
        while rest:
            rest = rest[os.write(CHANNEL, rest) :]


def reply(kind, activation_id, text):
    """Answers a request; whatever the function printed is out before."""
    flush_output()
    write_frame(kind, activation_id, text.encode("utf-8", "backslashreplace"))


def flush_output():
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass  # replaced or closed by the function: there is nothing to flush


def fail(why):
    """The peer broke the protocol: nothing that follows on the channel could be trusted."""
    os.write(2, f"launcher: {why}\n".encode())
    os._exit(70)


def log(text):
    """Writes a line to stderr, whatever the function did to `sys.stderr`."""
    flush_output()
    os.write(2, f"{describe(text)}\n".encode("utf-8", "backslashreplace"))


# ---- environment --------------------------------------------------------------------------------

# Environment names that belong to one activation; grows with every name a run brings.
activation_names = {
    "__OW_" + name
    for name in (
        "NAMESPACE",
        "ACTION_NAME",
        "ACTION_VERSION",
        "ACTIVATION_ID",
        "TRANSACTION_ID",
        "DEADLINE",
        "API_KEY",
    )
}


def set_environment(name, value):
    if value is None:
        value = ""
    elif not isinstance(value, str):
        value = to_json(value)
    try:
        os.environ[name] = value
    except (ValueError, OSError):
        pass  # a name or value that no environment can hold


def refresh_activation_environment(message):
    """Makes `__OW_*` say what this run says: sets what it brings, drops what an earlier one left."""
    present = set()
    for key, value in message.items():
        if key != "value" and isinstance(value, str):
            name = "__OW_" + key.upper()
            set_environment(name, value)
            present.add(name)
    for name in activation_names - present:
        os.environ.pop(name, None)
    activation_names.update(present)


# ---- loading ------------------------------------------------------------------------------------


class CompileError(Exception):
    """The code cannot become a module: no entry file, broken virtualenv, or a syntax error."""


def activate_virtualenv(folder):
    venv = os.path.join(folder, "virtualenv")
    if not os.path.isdir(venv):
        if not os.path.isfile(os.path.join(folder, "requirements.txt")):
            return
        why = load_beside("install").install(folder)
        if why is not None:
            raise CompileError(why)
    for scripts in ("bin", "Scripts"):
        script = os.path.join(venv, scripts, "activate_this.py")
        if os.path.isfile(script):
            with open(script, "rb") as file:
                exec(compile(file.read(), script, "exec"), {"__file__": script, "__name__": "activate_this"})
            return
    raise CompileError("Invalid virtualenv. Zip file does not include 'activate_this.py'.")


def find_source(folder, binary):
    """Path of the text that becomes module `main__`."""
    if not binary:
        return os.path.join(folder, "exec")
    for name in ("__main__.py", "main__.py"):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return path
    if os.path.isfile(os.path.join(folder, "exec__.py")):
        raise ModuleNotFoundError("No module named 'main__'", name="main__")
    raise CompileError("Zip file does not include main__")


def compile_source(path):
    with open(path, "rb") as file:
        source = file.read()
    try:
        return compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        print_exception(error.with_traceback(None))
        raise CompileError from error


def load(folder, binary, main):
    """Runs the action's module and returns its function `main`."""
    os.chdir(folder)
    sys.path.insert(0, folder)
    if binary:
        activate_virtualenv(folder)
    path = find_source(folder, binary)
    code = compile_source(path)
    module = type(sys)("main__")
    module.__file__ = path
    sys.modules["main__"] = module
    exec(code, module.__dict__)
    try:
        return getattr(module, main)
    except AttributeError:
        raise ImportError(f"cannot import name '{main}' from 'main__' ({path})", name="main__") from None


# The files whose frames are not the function's.
own_files = {__file__}


def print_exception(error):
    """The interpreter's own traceback, without the frames that it begins with and that are the launcher's."""
    trace = error.__traceback__
    while trace and trace.tb_frame.f_code.co_filename in own_files:
        trace = trace.tb_next
    sys.__excepthook__(type(error), error.with_traceback(trace), trace)


def report_exit(error):
    """Says on stderr what the interpreter says when `error` ends it, and returns its exit status."""
    if not isinstance(error, SystemExit):
        print_exception(error)
        return 1
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    log(error.code)
    return 1


# ---- answering ----------------------------------------------------------------------------------


class Launcher:
    def __init__(self):
        self.main = None
        self.loop = None

    def receive(self, kind, activation_id, payload):
        try:
            message = parse_json(payload.decode())
        except (ValueError, RecursionError) as error:
            return self.refuse(activation_id, f"Error unmarshaling request: {error}")
        if not isinstance(message, dict):
            return self.refuse(activation_id, "Error unmarshaling request: not an object")
        if kind == INIT:
            return self.init(activation_id, message.get("value") or {})
        if kind == RUN:
            return self.run(activation_id, message)
        return fail(f"frames of kind {kind} are not for a launcher")

    def refuse(self, activation_id, error):
        reply(DEVELOPER_ERROR, activation_id, to_json({"error": error}))

    def init(self, activation_id, action):
        if self.main is not None:
            error = "Cannot initialize the action more than once."
            log(error)
            return self.refuse(activation_id, error)
        folder, binary, main = action.get("path", "/action"), action.get("binary"), action.get("main", "main")
        if not main or not (binary or has_source(folder)):
            return self.refuse(activation_id, "Missing main/no code to execute.")
        for name, value in (action.get("env") or {}).items():
            set_environment(name, value)
        concurrency = action.get("concurrency") or 1
        # Before the code is loaded: what it keeps of `sys.stdout` and `sys.stderr` must know of runs.
        overlap = None
        if concurrency > 1:
            overlap = load_beside("overlap").Overlap(sys.modules[__name__], self, concurrency)
        try:
            self.main = load(folder, binary, main)
        except CompileError as error:
            if error.args:
                log(error)
            return self.refuse(activation_id, CANNOT_COMPILE)
        except BaseException as error:
            status = report_exit(error)
            log("Command exited abruptly during initialization.")
            self.refuse(activation_id, CANNOT_START)
            os._exit(status)
        reply(INITIALIZED, activation_id, "")
        if overlap:
            overlap.serve()

    def run(self, activation_id, message):
        if self.main is None:
            return self.refuse(activation_id, "no action defined yet")
        refresh_activation_environment(message)
        try:
            result = self.call(arguments(message))
        except BaseException as error:
            return self.fail(activation_id, error)
        return self.conclude(activation_id, result)

    def conclude(self, activation_id, result):
        """Answers with what the function gave."""
        try:
            text = to_json(result)
            text.encode()
        except Exception as error:
            return self.fail(activation_id, error)
        if not isinstance(result, (dict, list, tuple)):
            return self.refuse(activation_id, "The action did not return a dictionary or array.")
        return reply(RESULT, activation_id, text)

    def fail(self, activation_id, error):
        """Answers with what the function raised; what is no `Exception` ends the process."""
        if isinstance(error, Exception):
            print_exception(error)
            return reply(RESULT, activation_id, to_json({"error": describe(error)}))
        status = report_exit(error)
        self.refuse(activation_id, "command exited")
        return os._exit(status)

    def call(self, args):
        result = self.main(args)
        if not hasattr(type(result), "__await__"):
            return result
        if self.loop is None:
            import asyncio

            self.loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self.loop)
        return self.loop.run_until_complete(result)


def arguments(message):
    return {} if message.get("value") is None else message["value"]


def load_beside(name):
    """The module whose file lies beside this one, on no path."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.py")
    own_files.add(path)
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    module = type(sys)(name)
    module.__file__ = path
    exec(code, module.__dict__)
    return module


def has_source(folder):
    try:
        return os.path.getsize(os.path.join(folder, "exec")) > 0
    except OSError:
        return False


def describe(value):
    """`str(value)`, or the name of its type where it refuses to be text."""
    try:
        return str(value)
    except Exception:
        return type(value).__name__


# ---- boot ---------------------------------------------------------------------------------------


def add_site_builtins():
    """The names that `site` adds to every script's builtins, and that `-S` leaves out."""
    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D")
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D")
    builtins.help = _sitebuiltins._Helper()


def main():
    os.set_inheritable(CHANNEL, False)
    os.set_blocking(CHANNEL, True)
    for stream in (sys.stdout, sys.stderr):
        # Line by line: what was printed survives a function that is stopped at its time limit.
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    add_site_builtins()
    modules = os.environ.pop("CHASEN_MODULES", None)
    if modules:
        sys.path.append(os.path.join(modules, "site-packages"))
    reply(HELLO, bytes(16), '{"protocol":1,"concurrent":true}')
    launcher = Launcher()
    try:
        while (frame := read_frame()) is not None:
            launcher.receive(*frame)
    except ConnectionError:
        pass  # the platform is gone: the same as the end of the channel
    flush_output()
    os._exit(0)


if __name__ == "__main__":
    main()
