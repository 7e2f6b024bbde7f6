#!/usr/bin/env python3
"""Runs the cases of the language runtimes, on launchers alone or through a node.

    python3 runtimes/check.py [--modules DIR] [--all] [nodejs|python|…]…
    python3 runtimes/check.py --node URL --auth KEY [--all] [nodejs|python|…]…
    python3 runtimes/check.py --proxy PROGRAM [--modules DIR] [--all] [nodejs|python|…]…

The first speaks with each launcher over a socketpair and needs no platform. The second creates and invokes
actions of a running node, which run in its sandboxes; cases that a node cannot be given are left out. The third
plays them over HTTP, with a proxy in front of each launcher as in an image.
With `--all`, a language whose interpreter is missing is a failure, and so is a case that the machine lacks
something for.

Each language's `cases.json` is a list of cases. A text of several lines may be a list of them.
  name     what the case shows, starting with its number in the runtime contract where it has one
  code     text of a single source file, or
  files    {path: text} of an unpacked archive;  archive  "tar.gz" where a platform is not to be sent a zip
  assemblies  {path: source beside the cases} of what is compiled into that archive, in dotnet; needs `--modules`
  blackbox  the image that the code is for, in `native`
  main     entry point (default "main");  env  init environment;  init  the whole `value` instead
  host     environment of the launcher process
  needs    programs, and files by their whole path, that the machine must have; without them the case is skipped
  image    {path: text} of what an image has in its working directory
  modules  true if the case needs the preinstalled packages (below DIR, named by the manifest)
  inits    expectations, one for each Init that is sent (default [{"ok": true}])
  runs     list of expectations, each with "args" or with a whole request "body";
           {"together": [run, run]} sends several before it reads the replies, and so does
           {"together": {"times": N, …one run}}, in which "@index" stands for each one's number
  concurrency  how many runs may overlap (default 1): what they print must then be `stdout` and `stderr` of each
           of them, as below
  stdout, stderr   regular expressions for what the whole stream must hold, trimmed; a stream that is not
           named must be empty, null means anything
  raw      hexadecimal bytes that break the protocol, sent instead of Init; the launcher must end
  alone    true if the case shows what a launcher does and a platform around it hides
  exit     exit status that the launcher must end with (default 0: it ended because the channel did)

An expectation is one of {"ok": true}, {"result": JSON}, {"matches": regex on the text of a Result},
{"error": text of a DeveloperError's error}, {"errorMatches": regex on it}, {"end": true} for the end of
the channel. The text "@repeat:N:x" stands for N times x.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from checking import assemblies, compiled, launcher, node, proxy
from checking.expectations import Mismatch

ROOT = Path(__file__).resolve().parent
# What launchers that ask for it are told of the sandbox's memory, in bytes.
MEMORY = 256 << 20
# What a managed heap may take of it, as nodes say it to launchers.
HEAP = f"{MEMORY // 8 * 5:x}"
# What makes interpreters say their version, where it is not what everybody says it to.
QUESTIONS = {"go": "version", "dotnet": "--list-runtimes"}
# What makes a launcher write its own files into the folder of the case: a sandbox has a /tmp of its own, machines have one
# for all.
SCRATCH = {"java": ["-Djava.io.tmpdir={scratch}"]}


class Lacking(Exception):
    """The machine has not what a case needs."""


def is_here(need):
    """Whether the machine has a program, or the file at a whole path."""
    return os.path.exists(need) if os.path.isabs(need) else shutil.which(need) is not None


def interpreter(entry, modules):
    """Path of the interpreter that the manifest asks for, or None where this machine has none. What a launcher was built
    with may lie beside it."""
    wanted = entry["chasen"]["interpreter"]
    versions = [wanted["version"], *wanted.get("accepts", [])]
    names = [wanted["command"] + version for version in versions] + [wanted["command"]]
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep) + ["/usr/local/bin", "/usr/bin"]
    if modules:
        folders.insert(0, modules)
    for path in (Path(folder, name) for name in names for folder in folders):
        if os.access(path, os.X_OK):
            question = QUESTIONS.get(wanted["command"], "--version")
            shown = subprocess.run([path, question], capture_output=True, text=True, check=False).stdout
            if any(re.search(rf"(?<![\d.]){re.escape(version)}\.", shown) for version in versions):
                return str(path)
    return None


def modules_of(entry, options):
    """The folder of a kind's modules, if there is one."""
    name = entry["chasen"].get("modules")
    return str(options.modules.resolve() / name) if options.modules and name else None


def player(family, entry, program, options):
    """A function that plays a case of this language, or says why nobody plays it this way."""
    settings = entry["chasen"]
    if options.node:
        there = node.Node(options.node, options.auth)

        def through_node(case, number):
            if not node.plays(case):
                return "a node cannot be given it"
            return node.check(case, entry["kind"], there, f"{family}-case-{number}")

        return through_node
    modules = modules_of(entry, options)
    if compiled.is_compiled(entry):

        def in_image(case, _):
            if not proxy.plays(case):
                return "only a launcher of one's own can be given it"
            case = compiled.in_image(case, family, entry, program, ROOT)
            kind = compiled.kind(case, family)
            return proxy.check(case, str(options.proxy.resolve()), kind, None, modules)

        return in_image
    launcher_file = ROOT / settings["launcher"]
    if modules and not launcher_file.exists():
        launcher_file = options.modules.resolve() / settings["launcher"]
    arguments = [argument.replace("{memory}", str(MEMORY)) for argument in settings["args"]]
    command = [program, *SCRATCH.get(family, []), *arguments, str(launcher_file)]
    variables = settings.get("environment", {}).items()
    host = {name: value.replace("{heap}", HEAP).replace("{modules}", modules or "") for name, value in variables}

    if options.proxy:

        def through_proxy(case, _):
            if (case.get("modules") and not modules) or not launcher_file.exists():
                raise Lacking("needs --modules")
            if not proxy.plays(case):
                return "only a launcher of one's own can be given it"
            built_in = launcher_file.is_relative_to(ROOT)
            case = {**case, "host": {**host, **case.get("host", {})}}
            return proxy.check(case, str(options.proxy.resolve()), family, None if built_in else command, modules)

        return through_proxy
    def alone(case, _):
        if "image" in case:
            return "only images have it"
        if (case.get("modules") and not modules) or not launcher_file.exists():
            raise Lacking("needs --modules")
        return launcher.check({**case, "host": {**host, **case.get("host", {})}}, command, modules)

    return alone


def check_language(family, entry, options, counts):
    modules = modules_of(entry, options)
    program = interpreter(entry, modules)
    cases = json.loads((ROOT / family / "cases.json").read_text(encoding="utf-8"))
    optional = entry["chasen"].get("optional", False)
    # A node may have what the machine lacks in a root that was built for it; it offers optional kinds only then.
    built = optional and options.node and entry["kind"] in node.Node(options.node, options.auth).kinds()
    if program is None and not built:
        wanted = entry["chasen"]["interpreter"]
        failed = options.all and not optional
        print(f"{'FAIL ' * failed}{family}: skipped, no {wanted['command']} {wanted['version']} on this machine")
        counts["failed" if failed else "skipped"] += len(cases)
        return
    if compiled.is_compiled(entry) and not options.node and not options.proxy:
        print(f"{family}: has no launcher; its cases are played by nodes and proxies")
        return
    play = player(family, entry, program, options)
    for number, case in enumerate(cases):
        title = f"{family}: {case['name']}"
        try:
            missing = [need for need in case.get("needs", []) if not is_here(need)]
            if missing:
                raise Lacking(f"no {', '.join(missing)} on this machine")
            if "assemblies" in case:
                compiler = modules and Path(modules, "csc")
                if not compiler or not compiler.exists():
                    raise Lacking("needs --modules")
                case = assemblies.built(case, compiler, ROOT / family)
            skipped = play(case, number)
            if skipped:
                print(f"skip {title} ({skipped})")
            counts["skipped" if skipped else "passed"] += 1
        except Lacking as lacking:
            failed = options.all and not optional
            print(f"{'FAIL' if failed else 'skip'} {title} ({lacking})")
            counts["failed" if failed else "skipped"] += 1
        except (Mismatch, OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
            print(f"FAIL {title}: {error}")
            counts["failed"] += 1


def main():
    parser = argparse.ArgumentParser(description="Runs the cases of the language runtimes.")
    parser.add_argument("--modules", type=Path, metavar="DIR", help="folder of the preinstalled packages (<data>/runtimes)")
    parser.add_argument("--node", metavar="URL", help="address of a running node that plays the cases")
    parser.add_argument("--auth", metavar="KEY", help="credentials of a user of the node, uuid:key")
    parser.add_argument("--proxy", type=Path, metavar="PROGRAM", help="proxy that plays the cases over HTTP")
    parser.add_argument("--all", action="store_true", help="fail where the machine lacks something")
    parser.add_argument("families", nargs="*", metavar="LANGUAGE")
    options = parser.parse_args()
    manifest = json.loads((ROOT / "runtimes.json").read_text(encoding="utf-8"))["runtimes"]
    manifest["native"] = [compiled.NATIVE]
    unknown = set(options.families) - set(manifest)
    if unknown:
        parser.error(f"no such language: {', '.join(sorted(unknown))}; the manifest has {', '.join(manifest)}")
    if options.node and not options.auth:
        parser.error("--node needs --auth")
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for family in options.families or manifest:
        default = next(entry for entry in manifest[family] if entry.get("default"))
        check_language(family, default, options, counts)
    print(", ".join(f"{number} {what}" for what, number in counts.items()))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
