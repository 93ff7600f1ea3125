"""The shipped worker, as a child process: exact message sequences."""

import json
import time
from pathlib import Path

import pytest
from worker_wire import HELLO, Wire, is_terminal


def test_a_job_from_hello_to_done(tmp_path):
    with Wire() as wire:
        ready = wire.read()
        assert (ready["type"], ready["protocol_version"], ready["pid"]) == ("ready", 1, wire.process.pid)
        wire.dummy("a", steps=3, step_s=0.0, artifact=str(tmp_path))
        messages = wire.read_until(type="done")
        assert [(m["type"], m.get("done")) for m in messages] == [("log", None), ("progress", 0.0), ("progress", 3.0), ("artifact", None), ("done", None)]
        assert {m["id"] for m in messages} == {"a"}
        assert messages[-1]["result"] == {"steps": 3}
        assert wire.end() == ([], 0)


def test_ready_comes_before_anything_heavy_is_imported():
    started = time.monotonic()
    with Wire() as wire:
        wire.read()
        took_s = time.monotonic() - started
        maps = Path(f"/proc/{wire.process.pid}/maps").read_text() if Path("/proc/self/maps").exists() else ""
    assert "torch" not in maps and "numpy" not in maps
    assert took_s < 20, "generous: the machine may be busy"


def test_several_jobs_one_after_the_other():
    with Wire() as wire:
        wire.read()
        for number in range(3):
            wire.dummy(f"job{number}", steps=1, step_s=0.0)
            assert wire.read_until(type="done")[-1]["id"] == f"job{number}"
        assert wire.end() == ([], 0)


def test_cancel_ends_with_cancelled_and_nothing_after_it():
    with Wire() as wire:
        wire.read()
        wire.dummy("a", steps=10_000, step_s=0.01)
        wire.read_until(type="progress")
        wire.send(type="cancel", id="a")
        wire.send(type="cancel", id="a")
        assert wire.read_until(type="cancelled")[-1] == {"type": "cancelled", "id": "a"}
        wire.dummy("b", steps=1, step_s=0.0)
        messages = wire.read_until(type="done", id="b")
        assert {m["id"] for m in messages} == {"b"}, "the second cancel was late and is ignored"


def test_late_and_unknown_cancels_are_ignored():
    with Wire() as wire:
        wire.read()
        wire.send(type="cancel", id="never heard of")
        wire.dummy("a", steps=1, step_s=0.0)
        wire.read_until(type="done", id="a")
        wire.send(type="cancel", id="a")
        wire.dummy("b", steps=2, step_s=0.0)
        assert [m["type"] for m in wire.read_until(type="done", id="b")] == ["log", "progress", "progress", "done"]
        assert wire.end() == ([], 0)


def test_prints_from_python_and_from_below_never_reach_the_wire(tmp_path):
    log = tmp_path / "log"
    with open(log, "wb") as handle, Wire(log=handle) as wire:
        wire.read()
        wire.dummy("a", steps=5, step_s=0.0, noise=True)
        messages = wire.read_until(type="done")
        assert {m["id"] for m in messages} == {"a"}, "not even a well-formed line that a library prints"
        assert wire.end() == ([], 0)
    text = log.read_text()
    assert text.count("forged") == 5 and text.count("noise below Python") == 5


@pytest.mark.parametrize("code", ["bad_input", "out_of_memory", "diverged"])
def test_errors_keep_their_fields(code):
    with Wire() as wire:
        wire.read()
        wire.dummy("a", steps=0, error_code=code)
        last = wire.read_until(type="error")[-1]
    assert last == {"type": "error", "id": "a", "code": code, "message": "The dummy job was asked to fail.", "hint": "Ask it not to.", "detail": {"steps": 0}}


def test_a_bug_is_an_internal_error_with_its_traceback_in_the_log(tmp_path):
    with open(tmp_path / "log", "wb") as handle, Wire(log=handle) as wire:
        wire.read()
        wire.dummy("a", steps=0, error_code="exception")
        last = wire.read_until(type="error")[-1]
        wire.dummy("b", steps=0)
        assert wire.read_until(type="done")[-1]["id"] == "b", "the worker survives"
    assert (last["code"], last["id"]) == ("internal", "a") and "RuntimeError" in last["message"]
    assert "Traceback" in (tmp_path / "log").read_text()


def test_a_second_job_meanwhile_is_refused_and_the_first_goes_on():
    with Wire() as wire:
        wire.read()
        wire.dummy("a", steps=20, step_s=0.02)
        wire.dummy("b", steps=1)
        messages = wire.read_until(type="done", id="a")
        assert [m["code"] for m in messages if m["id"] == "b"] == ["bad_request"]
        assert sum(is_terminal(m) for m in messages) == 2


def test_an_id_is_never_used_twice():
    with Wire() as wire:
        wire.read()
        wire.dummy("a", steps=0)
        wire.read_until(type="done")
        wire.dummy("a", steps=0)
        again = wire.read()
        assert (again["type"], again["id"], again["code"]) == ("error", "", "protocol"), "a second terminal message for a would be a lie"


@pytest.mark.parametrize("line", [b"hm?\n", b"{}\n", b'{"type":"run","id":"a","kind":"dance","settings":{}}\n', b"\xff\xfe\n", json.dumps(HELLO).encode() + b"\n"])
def test_garbage_is_answered_and_survived(line):
    with Wire() as wire:
        wire.read()
        wire.dummy("a", steps=20, step_s=0.02)
        wire.send_raw(line)
        messages = wire.read_until(type="done")
        assert [(m["id"], m["code"]) for m in messages if m["type"] == "error"] == [("", "protocol")]
        assert wire.end() == ([], 0)


def test_bad_settings_are_a_typed_error():
    with Wire() as wire:
        wire.read()
        wire.send(type="run", id="a", kind="dummy", settings={"stepz": 1})
        error = wire.read()
    assert (error["id"], error["code"], error["detail"]["field"]) == ("a", "bad_request", "stepz")


@pytest.mark.parametrize("first", [{**HELLO, "protocol_version": 2}, {"type": "cancel", "id": "a"}, {"type": "hm"}])
def test_without_a_proper_hello_nothing_starts(first):
    with Wire(hello=first) as wire:
        wire.dummy("a", steps=0) if wire.process.poll() is None else None
        error = wire.read()
        assert (error["type"], error["id"], error["code"]) == ("error", "", "protocol")
        assert wire.process.stdout.read() == b"" and wire.process.wait() == 2


def test_probe_reports_the_machine():
    with Wire() as wire:
        wire.read()
        wire.send(type="run", id="p", kind="probe", settings={})
        done = wire.read_until(id="p")[-1]
        assert done["type"] == "done" and done["result"]["machine"]["cores"] >= 1
