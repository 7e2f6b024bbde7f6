"""What the replies and the output of a case must be."""

import base64
import io
import json
import re
import tarfile
import zipfile
from pathlib import Path

INITIALIZED, RESULT, DEVELOPER_ERROR = 3, 5, 6


class Mismatch(Exception):
    """A runtime did something else than its case expects."""


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


def at_once(run):
    """The runs that are sent before any reply is read; "@index" stands for the number of a repeated one."""
    together = run.get("together", [run])
    if isinstance(together, list):
        return together
    texts = (json.dumps(together).replace('"@index"', str(n)).replace("@index", str(n)) for n in range(together["times"]))
    return [json.loads(text) for text in texts]


def files(case):
    """{path: text or bytes} of a case's code; a single source is named `exec`."""
    named = case.get("files", {"exec": case.get("code", "")})
    return {name: whole(content) for name, content in named.items()}


def whole(content):
    """A file's content, of which lists are the lines."""
    if isinstance(content, bytes):
        return content
    return "\n".join(map(expand, content if isinstance(content, list) else [content]))


def write_files(named, folder):
    """Writes {path: text or bytes} below the folder."""
    for name, content in named.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def code(case):
    """A case's code as a platform is sent it: text, or base64 of an archive."""
    if "files" not in case:
        return files(case)["exec"]
    packed = io.BytesIO()
    if case.get("archive") == "tar.gz":
        with tarfile.open(fileobj=packed, mode="w:gz") as writer:
            for path, text in files(case).items():
                entry = tarfile.TarInfo(path)
                entry.size = len(text.encode())
                writer.addfile(entry, io.BytesIO(text.encode()))
    else:
        with zipfile.ZipFile(packed, "w") as writer:
            for path, text in files(case).items():
                writer.writestr(path, text)
    return base64.b64encode(packed.getvalue()).decode()


def shorten(text):
    return text if len(text) < 400 else text[:400] + "…"


def compare(reply, expected, what):
    """Raises Mismatch unless `reply`, a (kind, text) or None, is what the case expects."""
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


def compare_streams(case, texts):
    """Raises Mismatch unless `texts`, all of stdout and of stderr, are what the case expects."""
    for name, text in zip(("stdout", "stderr"), texts):
        pattern = case.get(name, "^$")
        if pattern is not None and not re.search(pattern, text.strip()):
            raise Mismatch(f"{name} does not match {pattern!r}: {shorten(text)!r}")
