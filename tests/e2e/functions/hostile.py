# What a hostile function may try; `deed` says which.
import os
import signal
import struct
import subprocess
import time


def frame(kind, activation_id, payload, length=None):
    length = 17 + len(payload) if length is None else length
    return struct.pack(">IB", length, kind) + activation_id + payload


def send(data):
    data = memoryview(data)
    while data:
        data = data[os.write(3, data):]


def own():
    return bytes.fromhex(os.environ["__OW_ACTIVATION_ID"])


def never():
    while True:
        time.sleep(600)


def calm(args):
    return {"calm": True}


def exit(args):
    os._exit(3)


def abort(args):
    os.abort()


def spin(args):
    while True:
        pass


def idle(args):
    never()


def fork(args):
    for count in range(10_000):
        try:
            if os.fork() == 0:
                never()
        except OSError:
            return {"contained": True}
    return {"contained": False}


def memory(args):
    hoard = []
    while True:
        hoard.append(b"x" * (1 << 20))


def fill(args):
    try:
        with open("/tmp/full", "wb") as file:
            for _ in range(4096):
                file.write(b"x" * (1 << 20))
    except OSError as error:
        return {"code": os.strerror(error.errno)}
    return {"code": "none"}


def files(args):
    opened = []
    try:
        while len(opened) < 5000:
            opened.append(os.open("/dev/zero", os.O_RDONLY))
    except OSError as error:
        count = len(opened)
        for descriptor in opened:
            os.close(descriptor)
        return {"opened": count, "code": os.strerror(error.errno)}
    return {"opened": len(opened)}


def flood_log(args):
    piece = (b"x" * 1023 + b"\n") * 1024
    for _ in range(args["megabytes"]):
        os.write(1, piece)
    return {"megabytes": args["megabytes"]}


def close(args):
    os.close(3)
    never()


def flood(args):
    while True:
        send(b"\xff" * (1 << 20))


def wrong_id(args):
    send(frame(5, b"\x07" * 16, b'{"forged":true}'))
    never()


def wrong_kind(args):
    send(frame(99, own(), b"{}"))
    never()


def second_hello(args):
    send(frame(1, bytes(16), b'{"protocol":1,"concurrent":false}'))
    never()


def huge_length(args):
    send(frame(5, own(), b"{}", 0xFFFFFFFF))
    never()


def short_length(args):
    send(frame(5, own(), b"{}", 3))
    never()


def half_frame(args):
    os.write(3, frame(5, own(), b'{"forged":true}')[:30])
    never()


def forge_own(args):
    send(frame(5, own(), b'{"forged":true}'))
    return {"stale": True}


def sulk(args):
    os.read = lambda *_: never()  # the launcher reads its channel with it
    return {"sulks": True}


def kill_parent(args):
    try:
        os.kill(os.getppid() or 1, signal.SIGKILL)
    except OSError as error:
        return {"code": os.strerror(error.errno)}
    return {"survived": True}


def kill_all(args):
    subprocess.run(["sh", "-c", "kill -9 -1"])
    never()


def main(args):
    return globals()[args.get("deed", "calm")](args)
