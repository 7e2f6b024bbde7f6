#!/usr/bin/env python3
"""Runs the launchers' cases without a platform: a socketpair, the frame protocol, and nothing else.

    python3 runtimes/check.py [--modules DIR] [nodejs|python]…

Each language's `cases.json` is a list of cases. A text of several lines may be a list of them.
  name     what the case shows, starting with its number in the runtime contract where it has one
  code     text of a single source file, or
  files    {path: text} of an unpacked archive
  main     entry point (default "main");  env  init environment;  init  the whole `value` instead
  host     environment of the launcher process
  modules  true if the case needs the preinstalled packages (below DIR, named by the manifest)
  inits    expectations, one for each Init that is sent (default [{"ok": true}])
  runs     list of expectations, each with "args" or with a whole request "body";
           {"together": [run, run]} sends several before it reads the replies
  stdout, stderr   regular expressions for what the whole stream must hold, trimmed; a stream that is not
           named must be empty, null means anything
  raw      hexadecimal bytes that break the protocol, sent instead of Init; the launcher must end
  exit     exit status that the launcher must end with (default 0: it ended because the channel did)

An expectation is one of {"ok": true}, {"result": JSON}, {"matches": regex on the text of a Result},
{"error": text of a DeveloperError's error}, {"errorMatches": regex on it}, {"end": true} for the end of
the channel. The text "@repeat:N:x" stands for N times x.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent
DEADLINE_SECONDS = 30
HELLO, INIT, INITIALIZED, RUN, RESULT, DEVELOPER_ERROR = range(1, 7)


class Mismatch(Exception):
    """A launcher did something else than its case expects."""


def interpreter(entry):
    """Path of the interpreter that the manifest asks for, or None where this machine has none."""
    wanted = entry["chasen"]["interpreter"]
    names = [wanted["command"] + wanted["version"], wanted["command"]]
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep) + ["/usr/local/bin", "/usr/bin"]
    for path in (Path(folder, name) for name in names for folder in folders):
        if os.access(path, os.X_OK):
            shown = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
            if re.search(rf"\b[vV]?{re.escape(wanted['version'])}\.", shown):
                return str(path)
    return None


class Launcher:
    """One launcher process and our end of its channel."""

    def __init__(self, command, environment):
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
            cwd="/",
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
        replies = dict.fromkeys(activation_ids)
        for _ in activation_ids:
            header = self.read(21)
            if header is None:
                break
            if replies.get(header[5:], True):
                raise Mismatch(f"a frame for activation {header[5:].hex()}, which awaits none")
            replies[header[5:]] = header[4], self.read(int.from_bytes(header[:4], "big") - 17).decode()
        return list(replies.values())

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


def expand(value):
    """Replaces "@repeat:N:x" everywhere in `value`."""
    if isinstance(value, str) and value.startswith("@repeat:"):
        _, count, text = value.split(":", 2)
        return int(count) * text
    if isinstance(value, list):
        return [expand(item) for item in value]
    if isinstance(value, dict):
        return {key: expand(item) for key, item in value.items()}
    return value


def shorten(text):
    return text if len(text) < 400 else text[:400] + "…"


def compare(reply, expected, what):
    """Raises Mismatch unless `reply` is what the case expects."""
    shown = shorten(repr(reply))
    if expected.get("end"):
        if reply is not None:
            raise Mismatch(f"{what}: expected the end of the channel, got {shown}")
        return
    if reply is None:
        raise Mismatch(f"{what}: the launcher ended")
    kind, text = reply
    if "ok" in expected:
        good = kind == INITIALIZED and text == ""
    elif "result" in expected:
        good = kind == RESULT and json.loads(text) == expand(expected["result"])
    elif "matches" in expected:
        good = kind == RESULT and re.search(expected["matches"], text)
    else:
        error = json.loads(text)["error"] if kind == DEVELOPER_ERROR else None
        wanted = expected.get("error")
        good = error is not None and (error == wanted if wanted else re.search(expected["errorMatches"], error))
    if not good:
        raise Mismatch(f"{what}: expected {shorten(json.dumps(expected))}, got {shown}")


def write_code(case, folder):
    for name, text in case.get("files", {"exec": case.get("code", "")}).items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = text if isinstance(text, list) else [text]
        path.write_text("\n".join(expand(line) for line in lines), encoding="utf-8")


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
    for expected in case.get("inits", [{"ok": True}]):
        launcher.send(INIT, {"value": {"path": folder, **case.get("init", action)}})
        compare(*launcher.receive(), expected, "init")
    for number, run in enumerate(case.get("runs", []), 1):
        together = {bytes([number, index]) * 8: one for index, one in enumerate(run.get("together", [run]))}
        for activation_id, one in together.items():
            launcher.send(RUN, expand(one.get("body", {"value": one.get("args", {})})), activation_id)
        for reply, one in zip(launcher.receive(list(together)), together.values()):
            compare(reply, one, f"run {number}")


def check(case, command, modules):
    """Plays one case with a launcher of its own; raises Mismatch where it deviates."""
    environment = {"PATH": "/usr/bin:/bin", **case.get("host", {})}
    if modules:
        environment["CHASEN_MODULES"] = modules
    with tempfile.TemporaryDirectory() as folder:
        write_code(case, folder)
        launcher = Launcher(command, environment)
        try:
            converse(launcher, case, folder)
        finally:
            status, texts = launcher.finish()
    if status != case.get("exit", 0):
        raise Mismatch(f"exit status {status}, stderr {shorten(texts[1])!r}")
    for name, text in zip(("stdout", "stderr"), texts):
        pattern = case.get(name, "^$")
        if pattern is not None and not re.search(pattern, text.strip()):
            raise Mismatch(f"{name} does not match {pattern!r}: {shorten(text)!r}")


def check_language(family, entry, modules_root, counts):
    settings = entry["chasen"]
    program = interpreter(entry)
    cases = json.loads((ROOT / family / "cases.json").read_text(encoding="utf-8"))
    if program is None:
        wanted = settings["interpreter"]
        print(f"{family}: skipped, no {wanted['command']} {wanted['version']} on this machine")
        counts["skipped"] += len(cases)
        return
    command = [program, *settings["args"], str(ROOT / settings["launcher"])]
    modules = modules_root and str(modules_root.resolve() / settings["modules"])
    for case in cases:
        title = f"{family}: {case['name']}"
        if case.get("modules") and not modules:
            print(f"skip {title} (needs --modules)")
            counts["skipped"] += 1
            continue
        try:
            check(case, command, modules)
            counts["passed"] += 1
        except (Mismatch, OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
            print(f"FAIL {title}: {error}")
            counts["failed"] += 1


def main():
    parser = argparse.ArgumentParser(description="Runs the launchers' cases.")
    parser.add_argument("--modules", type=Path, metavar="DIR", help="folder of the preinstalled packages (<data>/runtimes)")
    parser.add_argument("families", nargs="*", metavar="LANGUAGE")
    options = parser.parse_args()
    manifest = json.loads((ROOT / "runtimes.json").read_text(encoding="utf-8"))["runtimes"]
    unknown = set(options.families) - set(manifest)
    if unknown:
        parser.error(f"no such language: {', '.join(sorted(unknown))}; the manifest has {', '.join(manifest)}")
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for family in options.families or manifest:
        default = next(entry for entry in manifest[family] if entry.get("default"))
        check_language(family, default, options.modules, counts)
    print(", ".join(f"{number} {what}" for what, number in counts.items()))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
