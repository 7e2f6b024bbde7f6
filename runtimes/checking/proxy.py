"""Cases over HTTP: a proxy of their own in front of the language's launcher, as in an image."""

import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor

from checking.expectations import (
    DEVELOPER_ERROR,
    INITIALIZED,
    RESULT,
    Mismatch,
    at_once,
    code,
    compare,
    compare_streams,
    expand,
    shorten,
    write_files,
)

DEADLINE_SECONDS = 60
SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"
# What only a launcher of one's own can be given.
OF_LAUNCHERS = {"raw", "concurrency"}
# Families whose image is its server: when that ends, callers get no answer and the container ends too.
SERVERS = {"nodejs", "ruby", "java", "dotnet"}
# What the other families answer for a launcher that has ended.
ENDED = {
    "command exited",
    "no action defined yet",
    "Cannot start action. Check logs for details.",
    "cannot start action: command exited",
}


class Proxy:
    """One proxy process and the address that it listens on."""

    def __init__(self, program, kind, launcher, environment, folder):
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = listener.getsockname()
        self.process = subprocess.Popen(
            [program, "--kind", kind, "--listen", "stdin", *(["--", *launcher] if launcher else [])],
            stdin=listener,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=environment,
        )
        listener.close()
        pool = ThreadPoolExecutor(2)
        self.outputs = [pool.submit(pipe.read) for pipe in (self.process.stdout, self.process.stderr)]
        pool.shutdown(wait=False)

    def send(self, path, document):
        connection = http.client.HTTPConnection(*self.address, timeout=DEADLINE_SECONDS)
        try:
            connection.request("POST", path, json.dumps(document, ensure_ascii=False).encode())
        except ConnectionError:
            pass  # the same as no answer
        return connection

    def receive(self, connection, success):
        """The (kind, text) that a launcher would have answered; None where the connection was closed instead."""
        try:
            answer = connection.getresponse()
            if answer.headers["Content-Length"] is None:
                raise Mismatch(f"an answer without Content-Length: {answer.status}")
            text = answer.read().decode()
        except (ConnectionError, http.client.BadStatusLine, http.client.CannotSendRequest):
            return None
        finally:
            connection.close()
        if answer.status != 200:
            return DEVELOPER_ERROR, text
        return success, "" if success == INITIALIZED else text

    def finish(self, ends_by_itself):
        """Asks it to end unless it does so by itself; returns the exit status and what both streams said."""
        if not ends_by_itself:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(DEADLINE_SECONDS)
        finally:
            self.process.kill()
        return status, [output.result(DEADLINE_SECONDS).decode() for output in self.outputs]


def plays(case):
    """True if it can be played over HTTP."""
    return not OF_LAUNCHERS & case.keys()


def action(case):
    """The `value` of an initialisation."""
    entry = {"name": "case", "main": case.get("main", "main"), "env": case.get("env")}
    return {**entry, "binary": "files" in case, "code": code(case)}


def judge(reply, expected, family, what):
    """Raises Mismatch unless the reply is what the case expects of a launcher, seen through a proxy."""
    if expected.get("end") and family not in SERVERS and reply and reply[0] == DEVELOPER_ERROR:
        if json.loads(reply[1])["error"] in ENDED:
            return
    compare(reply, expected, what)


def converse(proxy, case, family):
    """Plays the whole conversation of one case."""
    for expected in case.get("inits", [{"ok": True}]):
        value = case["init"] if "init" in case else action(case)
        judge(proxy.receive(proxy.send("/init", {"value": value}), INITIALIZED), expected, family, "init")
    for number, run in enumerate(case.get("runs", []), 1):
        together = at_once(run)
        sent = [proxy.send("/run", expand(one.get("body", {"value": one.get("args", {})}))) for one in together]
        for connection, one in zip(sent, together):
            judge(proxy.receive(connection, RESULT), one, family, f"run {number}")


def expects_end(case):
    runs = [one for run in case.get("runs", []) for one in at_once(run)]
    return any(one.get("end") for one in [*case.get("inits", []), *runs])


def check(case, program, family, launcher, modules):
    """Plays one case with a proxy of its own; raises Mismatch where it deviates. A launcher that is not built into the
    proxy is given as the command that starts it."""
    environment = {"PATH": os.environ.get("PATH", os.defpath), **case.get("host", {})}
    if modules:
        environment["CHASEN_MODULES"] = modules
    ends = family in SERVERS and expects_end(case)
    with tempfile.TemporaryDirectory() as folder:
        environment["TMPDIR"] = folder
        write_files(case.get("image", {}), folder)
        launcher = launcher and [word.replace("{scratch}", folder) for word in launcher]
        proxy = Proxy(program, family, launcher, environment, folder)
        played = False
        try:
            converse(proxy, case, family)
            played = True
        finally:
            status, texts = proxy.finish(ends and played)
    expected = case.get("exit", 0) if ends else 0
    if status != expected:
        raise Mismatch(f"exit status {status}, expected {expected}, stderr {shorten(texts[1])!r}")
    marks = [text.count(SENTINEL) for text in texts]
    if marks[0] != marks[1]:
        raise Mismatch(f"{marks[0]} sentinels on stdout, {marks[1]} on stderr")
    compare_streams(case, [text.replace(SENTINEL, "") for text in texts])
