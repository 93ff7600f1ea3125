"""A real worker on a pipe, spoken to line by line. Not a test; used by the tests beside it."""

import contextlib
import json
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-I", str(ROOT / "backend" / "__main__.py"), "worker"]
HELLO = {"type": "hello", "protocol_version": 1, "client": "tests"}


class Wire:
    """Context manager: the worker's process; ``with`` ends it whatever happens."""

    def __init__(self, hello=HELLO, log=None):
        self._log = log
        self.process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log or subprocess.DEVNULL)
        self._watchdog = threading.Timer(60, self.process.kill)  # a worker that says nothing must fail a test, not hang it
        self._watchdog.start()
        if hello:
            self.send(**hello)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._watchdog.cancel()
        self.process.kill()
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):  # what was still in the buffer has no reader any more
                stream.close()
        self.process.wait()

    def send(self, **message):
        self.send_raw(json.dumps(message).encode() + b"\n")

    def send_raw(self, line):
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def dummy(self, job_id, **settings):
        self.send(type="run", id=job_id, kind="dummy", settings=settings)

    def read(self):
        """The next message; fails when the worker ends instead."""
        line = self.process.stdout.readline()
        assert line.endswith(b"\n"), f"the worker ended, status {self.process.wait()}"
        return json.loads(line)

    def read_until(self, **wanted):
        """All messages up to the first that has these fields."""
        messages = []
        while True:
            messages.append(self.read())
            if wanted.items() <= messages[-1].items():
                return messages

    def end(self):
        """Closes stdin; returns the remaining messages and the exit status."""
        self.process.stdin.close()
        rest = [json.loads(line) for line in self.process.stdout]
        return rest, self.process.wait()


def is_terminal(message):
    return message["type"] in ("done", "cancelled", "error")
