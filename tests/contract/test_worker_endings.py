"""How a worker ends: when told, when its caller dies, when the job is stuck. No orphans."""

import os
import signal
import subprocess
import sys
import time

import pytest
from worker_wire import COMMAND, Wire

POSIX = pytest.mark.skipif(os.name == "nt", reason="signals and process groups of POSIX")


def test_end_of_input_cancels_and_exits():
    with Wire() as wire:
        wire.read()
        wire.dummy("a", steps=10_000, step_s=0.01)
        wire.read_until(type="progress")
        rest, status = wire.end()
        assert status == 0 and [m for m in rest if m["type"] != "progress"] == [{"type": "cancelled", "id": "a"}]


def test_shutdown_does_the_same():
    with Wire() as wire:
        wire.read()
        wire.dummy("a", steps=10_000, step_s=0.01)
        wire.read_until(type="progress")
        wire.send(type="shutdown")
        assert wire.read_until(type="cancelled")
        assert wire.process.wait(10) == 0


def test_a_stuck_job_cannot_keep_the_worker_alive():
    with Wire() as wire:
        wire.read()
        wire.dummy("a", steps=1000, step_s=0.1, is_stubborn=True)
        wire.read_until(type="log")
        started = time.monotonic()
        wire.process.stdin.close()
        assert wire.process.wait(20) == 3
        assert 2.5 < time.monotonic() - started < 15


def test_end_of_input_before_hello_is_quiet():
    with Wire(hello=None) as wire:
        assert wire.end() == ([], 2)


@POSIX
def test_no_worker_outlives_a_caller_that_was_killed(tmp_path):
    # the caller starts a worker, starts a job, tells us the worker's pid, and is then killed without a chance to say goodbye
    caller = (
        "import json, subprocess, sys, time\n"
        f"p = subprocess.Popen({COMMAND!r}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)\n"
        "send = lambda **m: (p.stdin.write(json.dumps(m).encode() + b'\\n'), p.stdin.flush())\n"
        "send(type='hello', protocol_version=1, client='caller'); p.stdout.readline()\n"
        "send(type='run', id='a', kind='dummy', settings={'steps': 10000, 'step_s': 0.05}); p.stdout.readline()\n"
        "print(p.pid, flush=True); time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", caller], stdout=subprocess.PIPE)
    try:
        worker_pid = int(process.stdout.readline())
        assert is_running(worker_pid)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    deadline = time.monotonic() + 15
    while is_running(worker_pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(worker_pid)


def is_running(pid):
    """Whether a process exists and is no zombie (in a container nobody may collect orphans)."""
    try:
        with open(f"/proc/{pid}/stat") as handle:
            return handle.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
