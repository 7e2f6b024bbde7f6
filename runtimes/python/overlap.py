"""Runs that overlap in one launcher, for actions whose limits allow that; loaded for them alone.

An `async def main` has all its runs on one event loop, that of the main thread; a plain `def main` has each
on a thread. What a run prints through `sys.stdout`, `sys.stderr`, `print` or `logging` goes out in frames of
its own, all before its reply: a context variable says whose it is, so tasks and `asyncio.to_thread` are
attributed, and threads that the function starts by itself are not. What belongs to no run in flight goes to
the real descriptors, like everything that is written to them directly.
"""

import asyncio
import contextvars
import io
import os
import queue
import sys
import threading

# A cell has 1024 processes and threads in all, and the function may want some: more runs wait for a thread.
MOST_THREADS = 512
# Most bytes of text in one frame of log.
MAX_LOG = 64 * 1024

# The run that is being served.
current = contextvars.ContextVar("activation", default=None)


class Run:
    """One activation in flight, with what it printed and did not end with a line end yet."""

    def __init__(self, launcher_module, activation_id):
        self.write_frame, self.kind = launcher_module.write_frame, launcher_module.LOG
        self.activation_id = activation_id
        self.pending = {1: bytearray(), 2: bytearray()}
        self.lock = threading.Lock()
        self.is_open = True

    def write(self, stream, data):
        """Takes bytes that belong to this run; False if it has been answered already."""
        with self.lock:
            if self.is_open:
                self.pending[stream] += data
                if b"\n" in data or len(self.pending[stream]) >= MAX_LOG:
                    self.send(stream)
            return self.is_open

    def send(self, stream):
        data = bytes(self.pending[stream])
        self.pending[stream].clear()
        for start in range(0, len(data), MAX_LOG):
            self.write_frame(self.kind, self.activation_id, bytes([stream]) + data[start : start + MAX_LOG])

    def flush(self):
        with self.lock:
            for stream in self.pending:
                self.send(stream)

    def close(self):
        """Sends what is left; from here on what is printed belongs to nobody."""
        self.flush()
        with self.lock:
            self.is_open = False


class Bytes(io.RawIOBase):
    """The `buffer` of a stream that knows of runs."""

    def __init__(self, stream, real, name):
        self.stream, self.real, self.name = stream, real, name

    def writable(self):
        return True

    def fileno(self):
        return self.real.fileno()

    def write(self, data):
        data, run = bytes(data), current.get()
        if run is None or not run.write(self.stream, data):
            self.real.write(data)
            if b"\n" in data:
                self.real.flush()
        return len(data)

    def flush(self):
        run = current.get()
        if run is not None and run.is_open:
            run.flush()
        else:
            self.real.flush()


def attributed(stream, real):
    """A text stream in the place of `real` whose output goes to whichever run it belongs to."""
    buffer = Bytes(stream, real.buffer, real.name)
    text = io.TextIOWrapper(buffer, encoding="utf-8", errors="backslashreplace", newline="\n", write_through=True)
    text.mode = "w"
    return text


class Overlap:
    """Serves a launcher's runs, up to `concurrency` at a time, once its function is loaded."""

    def __init__(self, module, launcher, concurrency):
        self.module, self.launcher = module, launcher
        self.most_threads = min(concurrency, MOST_THREADS)
        self.environment = threading.Lock()
        sys.stdout, sys.stderr = attributed(1, sys.__stdout__), attributed(2, sys.__stderr__)

    def serve(self):
        """Serves until the channel ends."""
        code = getattr(self.launcher.main, "__code__", None)
        if code is not None and code.co_flags & 0x80:  # CO_COROUTINE, as `inspect` names it
            Tasks(self).serve()
        else:
            Threads(self).serve()

    def read(self, take):
        """Gives each request to run to `take`; all else is for the launcher. Returns when the channel ends."""
        module = self.module
        try:
            while (frame := module.read_frame()) is not None:
                kind, activation_id, payload = frame
                message = self.message(payload) if kind == module.RUN else None
                if message is None:
                    # A second initialisation, a request that is none, or nonsense.
                    self.launcher.receive(*frame)
                else:
                    take(activation_id, message)
        except ConnectionError:
            pass  # the platform is gone: the same as the end of the channel

    def message(self, payload):
        try:
            message = self.module.parse_json(payload.decode())
        except (ValueError, RecursionError):
            return None
        return message if isinstance(message, dict) else None

    def begin(self, activation_id, message):
        """Makes this run the one that is served here; the environment, which all share, says what it brings."""
        with self.environment:
            self.module.refresh_activation_environment(message)
        run = Run(self.module, activation_id)
        current.set(run)
        return run

    def end(self, run, result=None, error=None):
        """Answers a run with what the function gave or raised."""
        launcher = self.launcher
        # Whatever is printed on the way to the answer goes out before it, because it is flushed there.
        if error is None:
            launcher.conclude(run.activation_id, result)
        else:
            launcher.fail(run.activation_id, error)
        run.close()


class Tasks:
    """Runs of an `async def main`: tasks of one loop, on the main thread."""

    def __init__(self, overlap):
        self.overlap = overlap
        self.loop = overlap.launcher.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.tasks = set()

    def serve(self):
        threading.Thread(target=self.read, daemon=True).start()
        self.loop.run_forever()

    def read(self):
        self.overlap.read(lambda *request: self.loop.call_soon_threadsafe(self.start, *request))
        self.loop.call_soon_threadsafe(self.loop.stop)

    def start(self, activation_id, message):
        task = self.loop.create_task(self.run(activation_id, message))
        # The loop itself holds its tasks only weakly.
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def run(self, activation_id, message):
        run = self.overlap.begin(activation_id, message)
        try:
            result = await self.overlap.launcher.main(self.overlap.module.arguments(message))
        except asyncio.CancelledError:
            # By the function itself: nobody else cancels tasks, and it is no reason to end the others.
            self.overlap.end(run, error=RuntimeError("the function cancelled itself"))
        except BaseException as error:
            self.overlap.end(run, error=error)
        else:
            self.overlap.end(run, result)


class Threads:
    """Runs of a plain `def main`: each on a thread, of which there are as many as have been needed at once."""

    def __init__(self, overlap):
        self.overlap = overlap
        self.requests = queue.SimpleQueue()
        self.lock = threading.Lock()
        self.idle = self.threads = 0

    def serve(self):
        self.overlap.read(self.take)

    def take(self, activation_id, message):
        self.requests.put((activation_id, message))
        with self.lock:
            if self.idle > 0:
                self.idle -= 1
                return
            if self.threads == self.overlap.most_threads:
                return
            self.threads += 1
        try:
            threading.Thread(target=self.work, daemon=True).start()
        except RuntimeError:
            # The function has used up the threads of the cell: those that there are must do.
            with self.lock:
                self.threads -= 1
                alone = self.threads == 0
            if alone:
                self.run(*self.requests.get())

    def work(self):
        while True:
            contextvars.Context().run(self.run, *self.requests.get())
            with self.lock:
                self.idle += 1

    def run(self, activation_id, message):
        run = self.overlap.begin(activation_id, message)
        try:
            result = self.overlap.launcher.main(self.overlap.module.arguments(message))
            if hasattr(type(result), "__await__"):
                result = asyncio.run(self.awaited(result))
        except BaseException as error:
            self.overlap.end(run, error=error)
        else:
            self.overlap.end(run, result)

    @staticmethod
    async def awaited(result):
        return await result
