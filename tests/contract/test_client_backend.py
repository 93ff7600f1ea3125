"""The add-on's client against the shipped worker, and against children that misbehave."""

import os
import signal
import sys
import textwrap
import time
from pathlib import Path

import pytest

from blender_avatar.client import backend as backend_module
from blender_avatar.client.backend import Backend
from blender_avatar.client.job import State
from blender_avatar.client.process import Launch, clean_environment

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def launch(tmp_path):
    return Launch(Path(sys.executable), ROOT / "backend" / "__main__.py", tmp_path / "logs" / "worker.log")


@pytest.fixture
def backend():
    client = Backend()
    yield client
    client.close()


def impostor(tmp_path, body):
    """A child that runs ``body`` instead of the worker."""
    script = tmp_path / "impostor.py"
    script.write_text("import sys, time, json\nsend = lambda t: (sys.stdout.write(t + '\\n'), sys.stdout.flush())\n" + body)
    return Launch(Path(sys.executable), script, tmp_path / "worker.log")


READY = """send('{"type":"ready","protocol_version":1,"backend_version":"x","python_version":"3","pid":1}')\n"""


def pump_until(backend, condition, limit_s=30.0):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"job is {backend.job.state}"
        backend.pump()
        time.sleep(0.01)


def finish(backend, limit_s=30.0):
    pump_until(backend, lambda: not backend.is_busy, limit_s)
    return backend.job


def test_a_job_runs_and_the_child_is_kept_for_the_next(backend, launch):
    job = backend.run(launch, "dummy", {"steps": 3, "step_s": 0.0, "artifact": "/somewhere"})
    assert job.state is State.STARTING, "run returns at once"
    finish(backend)
    assert (job.state, job.result, job.artifacts, job.share) == (State.DONE, {"steps": 3}, ["/somewhere"], 1.0)
    pid = backend.pid
    assert finish_second(backend, launch).state is State.DONE and backend.pid == pid


def finish_second(backend, launch):
    backend.run(launch, "dummy", {"steps": 1, "step_s": 0.0})
    return finish(backend)


def test_one_job_at_a_time(backend, launch):
    backend.run(launch, "dummy", {"steps": 1000})
    with pytest.raises(RuntimeError):
        backend.run(launch, "dummy", {})


def test_cancel(backend, launch):
    job = backend.run(launch, "dummy", {"steps": 100_000, "step_s": 0.01})
    pump_until(backend, lambda: job.stage == "dummy")
    backend.cancel()
    assert job.state is State.CANCELLING
    finish(backend, 4.0)
    assert job.state is State.CANCELLED and job.failure is None
    assert finish_second(backend, launch).state is State.DONE


def test_cancel_while_starting(backend, launch):
    job = backend.run(launch, "dummy", {"steps": 100_000})
    backend.cancel()
    assert job.state is State.CANCELLED
    assert finish_second(backend, launch).state is State.DONE


def test_a_child_that_ignores_the_cancel_is_terminated(launch):
    now = [0.0]
    backend = Backend(clock=lambda: now[0])
    try:
        job = backend.run(launch, "dummy", {"steps": 10_000, "step_s": 0.1, "is_stubborn": True})
        pump_until(backend, lambda: job.last_log != "")
        pid = backend.pid
        backend.cancel()
        backend.pump()
        assert backend.pid == pid, "not before its time"
        now[0] += 5.1
        finish(backend, 10.0)
        assert job.state is State.CANCELLED and not exists(pid)
    finally:
        backend.close()


@pytest.mark.skipif(os.name == "nt", reason="SIGTERM can be ignored on POSIX only")
def test_a_child_that_ignores_sigterm_is_killed(tmp_path):
    now = [0.0]
    backend = Backend(clock=lambda: now[0])
    body = READY + textwrap.dedent("""
    import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdin.readline(); job = json.loads(sys.stdin.readline())["id"]
    send(json.dumps({"type": "log", "id": job, "text": "up"})); time.sleep(600)
    """)
    try:
        job = backend.run(impostor(tmp_path, body), "dummy", {})
        pump_until(backend, lambda: job.last_log == "up")
        pid = backend.pid
        backend.cancel()
        now[0] += 5.1
        backend.pump()
        time.sleep(0.3)
        backend.pump()
        assert backend.is_busy and exists(pid)
        now[0] += 5.1
        finish(backend, 10.0)
        assert job.state is State.CANCELLED and not exists(pid)
    finally:
        backend.close()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_killed_child_is_an_error_and_the_next_job_gets_a_new_one(backend, launch):
    job = backend.run(launch, "dummy", {"steps": 100_000, "step_s": 0.01})
    pump_until(backend, lambda: job.stage == "dummy")
    os.kill(backend.pid, signal.SIGKILL)
    finish(backend)
    assert (job.state, job.failure.code) == (State.FAILED, "out_of_memory")
    assert str(launch.log_path) in job.failure.hint
    assert finish_second(backend, launch).state is State.DONE


def test_a_crash_in_native_code_is_an_error(backend, launch):
    job = backend.run(launch, "dummy", {"steps": 0, "error_code": "crash"})
    finish(backend)
    assert (job.state, job.failure.code) == (State.FAILED, "internal")
    assert launch.log_path.exists()


def test_typed_errors_arrive_whole(backend, launch):
    job = backend.run(launch, "dummy", {"steps": 0, "error_code": "bad_input"})
    finish(backend)
    assert (job.failure.code, job.failure.hint, job.failure.detail) == ("bad_input", "Ask it not to.", {"steps": 0})


def test_a_python_that_is_none(backend, launch, tmp_path):
    job = backend.run(Launch(tmp_path / "nothing", launch.main, launch.log_path), "dummy", {})
    assert (job.state, job.failure.code) == (State.FAILED, "environment")
    assert finish_second(backend, launch).state is State.DONE


@pytest.mark.parametrize(
    "body, code",
    [
        (READY + "send('hello from a library'); time.sleep(600)", "protocol"),
        ("""send('{"type":"ready","protocol_version":99,"backend_version":"x","python_version":"3","pid":1}'); time.sleep(600)""", "protocol"),
        ("""send('{"type":"error","id":"","code":"protocol","message":"no"}'); time.sleep(600)""", "protocol"),
        ("sys.stdout.write('x' * (3 << 20)); sys.stdout.flush(); time.sleep(600)", "protocol"),
        ("sys.exit(7)", "internal"),
    ],
)
def test_misbehaving_children_fail_the_job_and_are_replaced(backend, launch, tmp_path, body, code):
    child = impostor(tmp_path, body)
    job = backend.run(child, "dummy", {"steps": 1})
    finish(backend)
    assert (job.state, job.failure.code) == (State.FAILED, code), job.failure
    assert backend.pid is None
    assert finish_second(backend, launch).state is State.DONE


def test_a_child_that_never_answers_is_given_up(tmp_path):
    now = [0.0]
    backend = Backend(clock=lambda: now[0])
    try:
        job = backend.run(impostor(tmp_path, "time.sleep(600)"), "dummy", {})
        backend.pump()
        assert job.state is State.STARTING
        now[0] += backend_module.START_LIMIT_S + 1
        backend.pump()
        assert (job.state, job.failure.code) == (State.FAILED, "environment") and backend.pid is None
    finally:
        backend.close()


def test_closing_leaves_no_process(launch):
    backend = Backend()
    job = backend.run(launch, "dummy", {"steps": 100_000, "step_s": 0.01})
    pump_until(backend, lambda: job.stage == "dummy")
    pid = backend.pid
    backend.close()
    backend.close()
    assert not exists(pid) and job.state is State.CANCELLED


def test_a_request_that_is_no_json_fails_the_job_only(backend, launch):
    job = backend.run(launch, "dummy", {"step_s": float("nan")})
    finish(backend)
    assert (job.state, job.failure.code) == (State.FAILED, "bad_request")
    assert finish_second(backend, launch).state is State.DONE


def test_the_log_of_the_run_before_is_kept(launch):
    for _ in range(2):
        backend = Backend()
        backend.run(launch, "dummy", {"steps": 1, "step_s": 0.0, "noise": True})
        finish(backend)
        backend.close()
    assert "noise below Python" in launch.log_path.read_text()
    assert "noise below Python" in launch.log_path.with_suffix(".previous.log").read_text()


def test_the_child_gets_a_clean_environment():
    environ = {"PATH": "/bin", "PYTHONPATH": "/x", "PYTHONHOME": "/y", "LD_LIBRARY_PATH": "/z", "LD_PRELOAD": "/w", "HOME": "/h", "AVATAR_CACHE": "/c"}
    assert clean_environment(environ) == {"PATH": "/bin", "HOME": "/h", "AVATAR_CACHE": "/c"}


def exists(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
