"""Kinds whose code is, or is compiled to, an executable that speaks for itself: there is no launcher to play with."""

import os
import subprocess
from pathlib import Path

# What the images of these kinds tell the proxy in front of the executable.
IMAGES = {"go": {"OW_LOG_INIT_ERROR": "1", "OW_WAIT_FOR_ACK": "1"}}
# Executables of no language: the cases say which of the two images of the platform's own they are for.
NATIVE = {"kind": "blackbox", "default": True, "chasen": {"interpreter": {"command": "bash", "version": "5"}}}
# What the proxy calls the second of them.
ACTION_LOOP = {"actionloop-base": "actionloop"}


def is_compiled(entry):
    return "launcher" not in entry["chasen"]


def toolchain(program):
    """The folder of a toolchain's own programs; what is on the path may pick among several."""
    if Path(program).name == "rustc":
        told = subprocess.run([program, "--print", "sysroot"], capture_output=True, text=True, check=True).stdout
        return str(Path(told.strip(), "bin"))
    return str(Path(program).parent)


def kind(case, family):
    """What the proxy is told that it stands in front of."""
    return ACTION_LOOP.get(case.get("blackbox"), family)


def in_image(case, family, entry, program, root):
    """The case with the environment that an image of this kind has."""
    if "compiler" not in entry["chasen"]:
        return case
    environment = {
        "PATH": os.pathsep.join([toolchain(program), os.environ.get("PATH", os.defpath)]),
        "OW_COMPILER": str(root / entry["chasen"]["compiler"]["program"]),
        **IMAGES.get(family, {}),
    }
    if "exec.env" in case.get("files", {}):
        environment["OW_EXECUTION_ENV"] = f"openwhisk/{entry['image']['name']}"
    return {**case, "host": {**environment, **case.get("host", {})}}
