"""Assemblies of .NET that cases are made of: compiled once each, by what the launcher was built with."""

import functools
import subprocess
import tempfile
from pathlib import Path


@functools.cache
def assembly(compiler, name, source):
    """The bytes of an assembly of this name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        said = subprocess.run(["sh", compiler, path, source], capture_output=True, text=True, check=False)
        if said.returncode:
            raise ValueError(f"{source} does not compile: {said.stdout}{said.stderr}")
        return path.read_bytes()


def built(case, compiler, sources):
    """The case with its assemblies among its files; the names of their sources are relative to the folder `sources`."""
    named = case.get("assemblies", {})
    made = {name: assembly(compiler, name, sources / source) for name, source in named.items()}
    return {**case, "files": {**case.get("files", {}), **made}}
