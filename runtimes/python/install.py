"""`pip install` for an archive with a `requirements.txt` and no `virtualenv/`, which this makes.

The launcher does it before it loads such an archive. A platform that prepares code ahead of its containers does it
then, with this file as a program, `install.py SOURCE BIN`, and the launcher finds `virtualenv/` there.
"""

import os
import shutil
import subprocess
import sys

REQUIREMENTS = "requirements.txt"
# Most of pip's words that are kept, in characters; the last ones say what failed.
MAX_WORDS = 32 * 1024
OPTIONS = "--quiet --no-input --no-cache-dir --disable-pip-version-check --no-warn-script-location"
NO_PIP = (
    f"The archive has a {REQUIREMENTS} and no virtualenv, and this Python has no pip to install from it: "
    "put a virtualenv into the archive, or have python3-pip installed."
)

# What makes the packages importable. They come behind the action's own modules and before all others.
ACTIVATE = '''"""Puts this virtualenv's packages on the path of the interpreter that runs this."""
import os
import site
import sys

base = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
os.environ["VIRTUAL_ENV"] = base
os.environ["PATH"] = os.pathsep.join([os.path.join(base, "packages", "bin"), os.environ.get("PATH", os.defpath)])
own, others = sys.path[:1], sys.path[1:]
sys.path[:] = own
site.addsitedir(os.path.join(base, "packages"))
sys.path += others
'''


def install(folder):
    """Makes `virtualenv/` in the folder. Returns why that failed, in words for the log, or None."""
    packages = os.path.join(folder, "virtualenv", "packages")
    command = [sys.executable, "-m", "pip", "install", *OPTIONS.split(), "--target", packages, "-r", REQUIREMENTS]
    environment = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}
    output = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, cwd=folder, env=environment, text=True, errors="replace", **output)
    if done.returncode:
        shutil.rmtree(os.path.join(folder, "virtualenv"), ignore_errors=True)
        if "No module named pip" in done.stdout:
            return NO_PIP
        return f"{done.stdout[-MAX_WORDS:].strip()}\npip install ended with exit code {done.returncode}".strip()
    os.makedirs(os.path.join(folder, "virtualenv", "bin"), exist_ok=True)
    with open(os.path.join(folder, "virtualenv", "bin", "activate_this.py"), "w", encoding="utf-8") as file:
        file.write(ACTIVATE)
    return None


def prepare(source, target):
    """Makes `target` what `source` is, with what it lists. Returns the exit status."""
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    why = install(target)
    if why is None:
        return 0
    print(why, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(prepare(*sys.argv[1:]))
