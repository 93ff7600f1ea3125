"""The backend as the add-on uses it: one child, one job at a time, emptied by whoever calls ``pump``."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from .job import Escalation, Failure, Job, State
from .process import Event, Exited, Garbage, Launch, WorkerProcess
from .wire import protocol

START_LIMIT_S = 60.0
"""Longest wait for ``ready``: a cold disk and a virus scanner, not a torch import (that comes later)."""

CLIENT_NAME = "Video Avatar"


class Backend:
    """Starts the worker at the first job, keeps it for the next ones, and replaces it after trouble. Main thread only."""

    def __init__(self, environ: Mapping[str, str] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._environ = dict(os.environ if environ is None else environ)
        self._clock = clock
        self._process: WorkerProcess | None = None
        self._launch: Launch | None = None
        self._started_s = 0.0
        self.ready: protocol.Ready | None = None
        self.job: Job | None = None

    @property
    def is_busy(self) -> bool:
        """A job is on its way."""
        return self.job is not None and not self.job.state.is_final

    @property
    def pid(self) -> int | None:
        """Process id of the child, when there is one."""
        return self._process.pid if self._process else None

    def run(self, launch: Launch, kind: str, settings: dict[str, Any]) -> Job:
        """Starts a job and returns at once; ``pump`` moves it on. A child that cannot be started is a failed job.

        Raises:
            RuntimeError: another job is on its way.
        """
        if self.is_busy:
            raise RuntimeError("another job is on its way")
        job = self.job = Job(uuid.uuid4().hex, kind, settings)
        job.start()
        if self._process and (not self._process.is_alive() or launch != self._launch):
            self._drop()
        if self._process is None:
            try:
                self._process = WorkerProcess(launch, self._environ)
            except OSError as error:
                job.fail(Failure("environment", f"{launch.python} cannot be started: {error.strerror or error}.", "Choose another Python in the preferences."))
                return job
            self._launch, self._started_s = launch, self._clock()
            self._process.send(protocol.Hello(protocol.PROTOCOL_VERSION, CLIENT_NAME))
        elif self.ready:
            self._hand_over(job)
        return job

    def pump(self) -> bool:
        """Takes in what the child has said and does what is due. Never waits. Returns whether a job is still on its way."""
        if self._process:
            for event in self._process.events():
                self._take(event)
                if self._process is None:  # dropped by this event
                    break
        job = self.job
        if job and self._process:
            now_s = self._clock()
            escalation = job.escalation(now_s)
            if escalation is Escalation.TERMINATE:
                self._process.terminate()
            elif escalation is Escalation.KILL:
                self._process.kill()
            if job.state is State.STARTING and not self.ready and now_s > self._started_s + START_LIMIT_S:
                self._lose(Failure("environment", f"The backend did not answer within {START_LIMIT_S:.0f} s.", self._log_hint()))
        return self.is_busy

    def cancel(self) -> None:
        """Asks for the running job to be stopped. Does nothing when there is none."""
        if self.job and self.job.cancel(self._clock()) and self._process:
            self._process.send(protocol.Cancel(self.job.id))

    def close(self) -> None:
        """Ends the child. A job on its way counts as cancelled."""
        self.cancel()
        if self.job:
            self.job.fail(Failure("internal", "The backend was closed."))
        self._drop()

    def _take(self, event: Event) -> None:
        if isinstance(event, protocol.Ready):
            self._greet(event)
        elif isinstance(event, Garbage):
            self._lose(Failure("protocol", f"The backend sent something unexpected: {event.problem}.", "It will be started anew; please try again."))
        elif isinstance(event, Exited):
            self._lose(_exit_failure(event.returncode, self._log_hint()))
        elif isinstance(event, protocol.Error) and not event.id:
            self._lose(Failure(event.code, event.message, event.hint, event.detail))
        elif self.job and event.id == self.job.id:
            self.job.receive(event)

    def _greet(self, ready: protocol.Ready) -> None:
        if ready.protocol_version != protocol.PROTOCOL_VERSION:
            message = f"The backend speaks protocol {ready.protocol_version}, this add-on {protocol.PROTOCOL_VERSION}."
            self._lose(Failure("protocol", message, "Install the add-on and the backend of the same release."))
            return
        self.ready = ready
        if self.job and self.job.state is State.STARTING:
            self._hand_over(self.job)

    def _hand_over(self, job: Job) -> None:
        assert self._process is not None
        try:
            self._process.send(protocol.Run(job.id, job.kind, job.settings))
        except protocol.ProtocolError as error:
            job.fail(Failure("bad_request", f"The request cannot be sent: {error}."))
            return
        job.sent()

    def _lose(self, failure: Failure) -> None:
        """The conversation is over: the job fails and the child goes."""
        if self.job:
            self.job.fail(failure)
        if self._process:
            self._process.kill()  # nothing it says counts any more, and Blender must not wait for it
        self._drop()

    def _drop(self) -> None:
        if self._process:
            process, self._process, self.ready = self._process, None, None
            process.close()

    def _log_hint(self) -> str:
        return f"The log is {self._launch.log_path}." if self._launch else ""


def _exit_failure(returncode: int, hint: str) -> Failure:
    how = f"exit status {returncode}" if returncode >= 0 else f"signal {-returncode}"
    code = "out_of_memory" if returncode == -9 else "internal"
    if code == "out_of_memory":
        hint = f"The system may have run out of memory: choose a lower quality or a shorter clip. {hint}"
    return Failure(code, f"The backend stopped unexpectedly ({how}).", hint)
