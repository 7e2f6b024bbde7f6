"""Cases through a running node: created, invoked and read back over HTTP, in the node's own sandboxes."""

import base64
import json
import time
import urllib.error
import urllib.request

from checking.expectations import DEVELOPER_ERROR, RESULT, code, compare, compare_streams, expand

DEADLINE_SECONDS = 60
# Largest arguments and results of a node, in bytes, less what surrounds them.
PAYLOAD = (1 << 20) - 16
# What only a launcher of one's own, or an image, can be given or asked.
OF_LAUNCHERS = {"raw", "init", "host", "modules", "alone", "concurrency", "image"}
# What the platform adds to the log of a developer error.
ADDED = "The action did not initialize or run as expected. Log data might be missing."


def plays(case):
    """True if a node can play the case."""
    return (
        not OF_LAUNCHERS & case.keys()
        and len(case.get("inits", [])) < 2
        and not any(name.startswith("__OW_") for name in case.get("env", {}))
        and not any("together" in run for run in case.get("runs", []))
        and ("runs" not in case or playable_runs(case))
    )


def playable_runs(case):
    """Those of the case's runs whose arguments a caller could send."""
    return [run for run in case.get("runs", []) if "body" not in run and is_sent(run)]


def is_sent(run):
    arguments = expand(run.get("args", {}))
    return isinstance(arguments, dict) and len(json.dumps(arguments, ensure_ascii=False).encode()) < PAYLOAD


class Node:
    """A node, as one of its users sees it."""

    def __init__(self, url, credentials):
        self.root = url
        self.base = f"{url}/api/v1/namespaces/_"
        self.authorization = "Basic " + base64.b64encode(credentials.encode()).decode()

    def kinds(self):
        """The names of the kinds that the node offers."""
        with urllib.request.urlopen(f"{self.root}/", timeout=DEADLINE_SECONDS) as answer:
            families = json.load(answer)["runtimes"]
        return {kind["kind"] for kinds in families.values() for kind in kinds}

    def request(self, method, path, document=None):
        """The (status, headers, text) of the answer."""
        data = None if document is None else json.dumps(document).encode()
        headers = {"Authorization": self.authorization, "Content-Type": "application/json"}
        request = urllib.request.Request(self.base + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()

    def create(self, name, case, kind):
        exec_ = {"kind": kind, "main": case.get("main", "main"), "code": code(case)}
        if "blackbox" in case:
            exec_["image"] = f"openwhisk/{case['blackbox']}"
        parameters = [{"key": key, "value": value, "init": True} for key, value in case.get("env", {}).items()]
        document = {"exec": exec_, "parameters": parameters}
        status, _, text = self.request("PUT", f"/actions/{name}?overwrite=true", document)
        if status != 200:
            raise ValueError(f"the action cannot be created: {status} {text}")

    def invoke(self, name, arguments):
        """The (kind, text) that a launcher would have answered, and the activation's log lines."""
        _, headers, text = self.request("POST", f"/actions/{name}?blocking=true&result=true", arguments)
        record = self.record(headers["x-openwhisk-activation-id"])
        developer_error = record["response"]["status"] == "action developer error"
        return (DEVELOPER_ERROR if developer_error else RESULT, text), record["logs"]

    def record(self, activation_id):
        """The activation's record, once it is there."""
        begun = time.monotonic()
        while time.monotonic() - begun < DEADLINE_SECONDS:
            status, _, text = self.request("GET", f"/activations/{activation_id}")
            if status == 200:
                return json.loads(text)
            time.sleep(0.02)
        raise ValueError(f"activation {activation_id} has no record")


def check(case, kind, node, name):
    """Plays one case as an action of this name; raises Mismatch where it deviates."""
    node.create(name, case, kind)
    (init,) = case.get("inits", [{"ok": True}])
    # Without a successful initialisation there is nothing to run.
    expectations = playable_runs(case) if init.get("ok") else [init]
    logs = []
    for number, expected in enumerate(expectations, 1):
        reply, lines = node.invoke(name, expand(expected.get("args", {})))
        # The end of a process shows as what the kind says of it.
        compare(None if expected.get("end") and reply[0] == DEVELOPER_ERROR else reply, expected, f"run {number}")
        logs += lines
    node.request("DELETE", f"/actions/{name}")
    streams = {"stdout": [], "stderr": []}
    for line in logs:
        stream, _, text = line[31:].partition(": ")
        if text != ADDED:
            streams[stream].append(text)
    compare_streams(case, ["\n".join(lines) for lines in streams.values()])
