"""Cases without a platform: a launcher of their own at the other end of a socketpair."""

import json
import socket
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor

from checking.expectations import Mismatch, at_once, compare, compare_streams, expand, files, shorten, write_files

DEADLINE_SECONDS = 30
HELLO, INIT, RUN, LOG = 1, 2, 4, 7
# Names of the streams in frames of log.
STREAMS = {1: "stdout", 2: "stderr"}
# Most bytes of text in one of them.
MAX_LOG = 64 * 1024


class Launcher:
    """One launcher process and our end of its channel."""

    def __init__(self, command, environment, cwd):
        self.channel, theirs = socket.socketpair()
        self.channel.settimeout(DEADLINE_SECONDS)
        # The shell puts the channel on fd 3, which is where launchers look for it.
        number = theirs.fileno()
        script = 'exec "$@"' if number == 3 else f'exec "$@" 3<&{number} {number}<&-'
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", script, "launcher", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[number],
            cwd=cwd,
            env=environment,
        )
        theirs.close()
        pool = ThreadPoolExecutor(2)
        self.outputs = [pool.submit(pipe.read) for pipe in (self.process.stdout, self.process.stderr)]
        pool.shutdown(wait=False)

    def send(self, kind, payload, activation_id=bytes(16)):
        payload = json.dumps(payload, ensure_ascii=False).encode()
        self.channel.sendall((17 + len(payload)).to_bytes(4, "big") + bytes([kind]) + activation_id + payload)

    def receive(self, activation_ids=(bytes(16),)):
        """The (kind, text) that answers each activation, in their order; None where the channel ended before."""
        replies, awaited, self.logs = dict.fromkeys(activation_ids), len(activation_ids), {}
        while awaited:
            header = self.read(21)
            if header is None:
                break
            kind, activation_id = header[4], header[5:]
            payload = self.read(int.from_bytes(header[:4], "big") - 17)
            if replies.get(activation_id, True):
                raise Mismatch(f"a frame for activation {activation_id.hex()}, which awaits none")
            if kind != LOG:
                replies[activation_id] = kind, payload.decode()
                awaited -= 1
            elif payload is None or not 1 < len(payload) <= 1 + MAX_LOG:
                raise Mismatch(f"a frame of log that is too short or too long: {shorten(repr(payload))}")
            else:
                self.logs.setdefault((activation_id, STREAMS[payload[0]]), bytearray()).extend(payload[1:])
        return list(replies.values())

    def printed(self, activation_id):
        """What both streams said of an activation in the frames that came before its reply."""
        return [self.logs.get((activation_id, name), b"").decode() for name in STREAMS.values()]

    def read(self, size):
        data = bytearray()
        while len(data) < size:
            try:
                chunk = self.channel.recv(size - len(data))
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                return None
            data += chunk
        return bytes(data)

    def finish(self):
        """Closes the channel; returns the exit status and what both streams said."""
        self.channel.close()
        try:
            status = self.process.wait(DEADLINE_SECONDS)
        finally:
            self.process.kill()
        return status, [output.result(DEADLINE_SECONDS).decode() for output in self.outputs]


def converse(launcher, case, folder):
    """Plays the whole conversation of one case."""
    (greeting,) = launcher.receive()
    if greeting is None or greeting[0] != HELLO or json.loads(greeting[1]).get("protocol") != 1:
        raise Mismatch(f"bad hello {greeting!r}")
    if "raw" in case:
        launcher.channel.sendall(bytes.fromhex(case["raw"]))
        compare(*launcher.receive(), {"end": True}, "broken frame")
        return
    action = {"name": "case", "main": case.get("main", "main"), "binary": "files" in case, "env": case.get("env")}
    action["concurrency"] = case.get("concurrency", 1)
    for expected in case.get("inits", [{"ok": True}]):
        launcher.send(INIT, {"value": {"path": folder, **case.get("init", action)}})
        compare(*launcher.receive(), expected, "init")
    for number, run in enumerate(case.get("runs", []), 1):
        together = {(number << 32 | index).to_bytes(16, "big"): one for index, one in enumerate(at_once(run))}
        sender = ThreadPoolExecutor(1)
        sent = sender.submit(send_runs, launcher, together)
        for reply, (activation_id, one) in zip(launcher.receive(list(together)), together.items()):
            compare(reply, one, f"run {number}")
            compare_streams(one, launcher.printed(activation_id))
        sent.result(DEADLINE_SECONDS)


def send_runs(launcher, runs):
    for activation_id, one in runs.items():
        launcher.send(RUN, expand(one.get("body", {"value": one.get("args", {})})), activation_id)


def check(case, command, modules):
    """Plays one case with a launcher of its own; raises Mismatch where it deviates."""
    environment = {"PATH": "/usr/bin:/bin", **case.get("host", {})}
    if modules:
        environment["CHASEN_MODULES"] = modules
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as scratch:
        write_files(files(case), folder)
        launcher = Launcher([word.replace("{scratch}", scratch) for word in command], environment, modules or "/")
        try:
            converse(launcher, case, folder)
        finally:
            status, texts = launcher.finish()
    if status != case.get("exit", 0):
        raise Mismatch(f"exit status {status}, stderr {shorten(texts[1])!r}")
    compare_streams(case, texts)
