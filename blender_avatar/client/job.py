"""A job as the add-on sees it: a state machine fed with messages. Pure: no process, no clock of its own."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from .wire import protocol

CANCEL_GRACE_S = 5.0
"""A cancelled job that sent no terminal message for this long gets its process terminated; after as long again, killed."""

MAX_LOGS = 50
"""Only the last lines that a job says are kept."""


class State(enum.Enum):
    """Where a job stands. The last three are final."""

    IDLE = "idle"
    STARTING = "starting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Nothing happens to the job any more."""
        return self in (State.DONE, State.CANCELLED, State.FAILED)


class Escalation(enum.Enum):
    """What the owner of the process must do now."""

    NONE = "none"
    TERMINATE = "terminate"
    KILL = "kill"


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why a job failed, in words for a person; the fields of ``backend.errors.AvatarError``."""

    code: str
    message: str
    hint: str = ""
    detail: dict[str, Any] = dataclasses.field(default_factory=dict)


class Job:
    """One job and everything known about it.

    Args:
        job_id: unique in the life of the program.
        kind: one of ``protocol.JOB_KINDS``.
        settings: the request, JSON types.
    """

    def __init__(self, job_id: str, kind: str, settings: dict[str, Any]) -> None:
        self.id = job_id
        self.kind = kind
        self.settings = settings
        self.state = State.IDLE
        self.stage = ""
        self.share = 0.0
        self.remaining_s: float | None = None
        self.logs: list[str] = []
        self.artifacts: list[str] = []
        self.result: dict[str, Any] = {}
        self.failure: Failure | None = None
        self._cancelled_at_s = 0.0
        self._num_signals = 0

    @property
    def last_log(self) -> str:
        """The last line the job said, or nothing."""
        return self.logs[-1] if self.logs else ""

    def start(self) -> None:
        """The process is being started or has been told."""
        self._expect(State.IDLE)
        self.state = State.STARTING

    def sent(self) -> None:
        """The worker has the request."""
        self._expect(State.STARTING)
        self.state = State.RUNNING

    def cancel(self, now_s: float) -> bool:
        """The user wants it stopped. Returns whether the worker must be told."""
        if self.state is State.RUNNING:
            self.state, self._cancelled_at_s = State.CANCELLING, now_s
            return True
        if self.state in (State.IDLE, State.STARTING):
            self.state = State.CANCELLED
        return False

    def receive(self, message: protocol.FromWorker) -> None:
        """Takes a message that carries this job's id. After the terminal one nothing changes any more."""
        if self.state.is_final:
            return
        if isinstance(message, protocol.Progress):
            self.stage = message.stage
            own_share = message.done / message.total if message.total > 0 else 0.0
            self.share = min(1.0, max(0.0, message.overall if message.overall >= 0 else own_share))
            self.remaining_s = message.remaining_s if message.remaining_s >= 0 else None
        elif isinstance(message, protocol.Log):
            self.logs = [*self.logs[-MAX_LOGS + 1 :], message.text]
        elif isinstance(message, protocol.Artifact):
            self.artifacts.append(message.path)
        elif isinstance(message, protocol.Done):
            self.state, self.result, self.share = State.DONE, message.result, 1.0
        elif isinstance(message, protocol.Cancelled):
            self.state = State.CANCELLED
        elif isinstance(message, protocol.Error):
            self.fail(Failure(message.code, message.message, message.hint, message.detail))

    def fail(self, failure: Failure) -> None:
        """The job ends badly; when it was being cancelled, that is what the user wanted."""
        if self.state is State.CANCELLING:
            self.state = State.CANCELLED
        elif not self.state.is_final:
            self.state, self.failure = State.FAILED, failure

    def escalation(self, now_s: float) -> Escalation:
        """Whether a job that was cancelled has been silent for too long. Each step is returned once."""
        if self.state is not State.CANCELLING or now_s < self._cancelled_at_s + CANCEL_GRACE_S * (self._num_signals + 1):
            return Escalation.NONE
        self._num_signals += 1
        return {1: Escalation.TERMINATE, 2: Escalation.KILL}.get(self._num_signals, Escalation.NONE)

    def _expect(self, state: State) -> None:
        if self.state is not state:
            raise RuntimeError(f"job {self.id} is {self.state.value}, not {state.value}")
