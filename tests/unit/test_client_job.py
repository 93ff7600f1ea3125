"""The job's state machine, fed by hand."""

import itertools

import pytest

from blender_avatar.client.job import CANCEL_GRACE_S, MAX_LOGS, Escalation, Failure, Job, State
from blender_avatar.client.wire import protocol
from blender_avatar.client.words import machine_text, missing_text, remarks, status_text, time_left_text


def running_job():
    job = Job("a", "dummy", {})
    job.start()
    job.sent()
    return job


def test_the_straight_way():
    job = Job("a", "reconstruct", {})
    assert job.state is State.IDLE
    job.start()
    assert job.state is State.STARTING and status_text(job) == "Starting the backend"
    job.sent()
    job.receive(protocol.Progress("a", "track", 3, 4, "frames", 0.5, 61.0))
    assert (job.state, job.share, job.remaining_s) == (State.RUNNING, 0.5, 61.0)
    assert status_text(job) == "Following the face" and time_left_text(job.remaining_s) == "about 1 min left"
    job.receive(protocol.Log("a", "hm"))
    job.receive(protocol.Artifact("a", "/x"))
    job.receive(protocol.Done("a", {"folder": "/x"}))
    assert (job.state, job.share, job.result, job.artifacts, job.last_log) == (State.DONE, 1.0, {"folder": "/x"}, ["/x"], "hm")


def test_progress_without_an_overall_share_uses_the_stage():
    job = running_job()
    job.receive(protocol.Progress("a", "dummy", 3, 4))
    assert (job.share, job.remaining_s) == (0.75, None)
    job.receive(protocol.Progress("a", "dummy", 0, 0))
    assert job.share == 0.0


FINAL = {
    State.DONE: protocol.Done("a", {"k": 1}),
    State.CANCELLED: protocol.Cancelled("a"),
    State.FAILED: protocol.Error("a", "bad_input", "no face"),
}


@pytest.mark.parametrize("first, second", list(itertools.permutations(FINAL, 2)))
def test_only_the_first_terminal_message_counts(first, second):
    job = running_job()
    job.receive(FINAL[first])
    before = (job.state, job.result, job.failure)
    job.receive(FINAL[second])
    job.receive(protocol.Progress("a", "late", 1, 2))
    job.fail(Failure("internal", "gone"))
    assert job.cancel(0.0) is False
    assert (job.state, job.result, job.failure) == before and job.state is first and job.stage == ""


def test_cancel_before_the_worker_knows_needs_no_message():
    job = Job("a", "dummy", {})
    job.start()
    assert job.cancel(1.0) is False and job.state is State.CANCELLED


def test_a_silent_cancelled_job_is_terminated_then_killed_once_each():
    job = running_job()
    assert job.escalation(1e9) is Escalation.NONE
    assert job.cancel(100.0) is True
    assert job.cancel(101.0) is False, "a second press must not send a second message"
    assert job.escalation(100.0 + CANCEL_GRACE_S - 0.01) is Escalation.NONE
    assert job.escalation(100.0 + CANCEL_GRACE_S) is Escalation.TERMINATE
    assert job.escalation(100.0 + CANCEL_GRACE_S + 0.1) is Escalation.NONE
    assert job.escalation(100.0 + 2 * CANCEL_GRACE_S) is Escalation.KILL
    assert job.escalation(1e9) is Escalation.NONE
    job.fail(Failure("internal", "exit"))
    assert job.state is State.CANCELLED and job.failure is None, "the user wanted it gone; no error to show"


def test_a_job_that_finishes_while_being_cancelled_is_done():
    job = running_job()
    job.cancel(0.0)
    job.receive(FINAL[State.DONE])
    assert job.state is State.DONE


def test_steps_out_of_order_are_refused():
    job = Job("a", "dummy", {})
    with pytest.raises(RuntimeError):
        job.sent()
    job.start()
    with pytest.raises(RuntimeError):
        job.start()


@pytest.mark.parametrize(
    "seconds, text",
    [(None, ""), (0.0, "a few seconds left"), (34.0, "about 30 s left"), (59.0, "about 60 s left"), (150.0, "about 2 min left"), (5400.0, "about 1.5 h left")],
)
def test_time_left_in_words(seconds, text):
    assert time_left_text(seconds) == text


def test_what_the_job_says_about_the_clip_is_kept_within_bounds():
    job = Job("a", "reconstruct", {})
    job.start()
    job.sent()
    for number in range(MAX_LOGS + 5):
        job.receive(protocol.Log("a", f"Clip check: blinks: {number}"))
    assert len(job.logs) == MAX_LOGS and remarks(job)[-1] == f"Blinks: {MAX_LOGS + 4}" and job.last_log == f"Clip check: blinks: {MAX_LOGS + 4}"
    assert remarks(running_job()) == []


def test_the_probe_in_words():
    assert machine_text({"machine": {"cores": 8}, "device": {"cuda": []}}) == "CPU, 8 cores"
    assert machine_text({"machine": {"cores": 8}, "device": {"cuda": ["NVIDIA X, 8192 MiB"]}}) == "NVIDIA X"
    assert machine_text({}) == ""
    assert missing_text({"missing": []}) is None
    lacks = {"missing": [{"what": "numba", "why": "w", "how": "Install it."}, {"what": "av", "why": "w", "how": "h"}]}
    assert missing_text(lacks) == ("The backend lacks numba, av.", "Install it.")
