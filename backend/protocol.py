"""The messages between the add-on and the worker: one strict JSON object per line, UTF-8.

Standard library only, and no import from this package: the add-on loads this very file inside Blender.
``docs/protocol.md`` tells the rules of the conversation; this file only knows what a well-formed message is.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, ClassVar, NoReturn

PROTOCOL_VERSION = 1
"""Raised whenever a message changes; both sides must be equal."""

JOB_KINDS = ("probe", "dummy", "reconstruct", "synth", "evaluate", "track_again", "bake_textures")

ERROR_CODES = ("bad_request", "bad_input", "asset_missing", "environment", "out_of_memory", "diverged", "protocol", "internal")
"""The same codes as ``backend.errors.CODES`` (a test compares them); repeated because this file imports nothing."""

MAX_LINE_BYTES = 1 << 20
"""Arrays never travel on the wire, so a longer line is a mistake."""


class ProtocolError(ValueError):
    """A line or message that breaks the rules; ``problems`` lists everything that is wrong with it."""

    def __init__(self, problems: list[str]):
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclasses.dataclass(frozen=True)
class Hello:
    """To the worker, first: who calls and which protocol it speaks."""

    TYPE: ClassVar[str] = "hello"
    protocol_version: int
    client: str


@dataclasses.dataclass(frozen=True)
class Run:
    """To the worker: start a job. ``id`` is chosen by the caller and never used twice."""

    TYPE: ClassVar[str] = "run"
    id: str
    kind: str
    settings: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Cancel:
    """To the worker: stop this job. Ignored when the job has ended or was never known."""

    TYPE: ClassVar[str] = "cancel"
    id: str


@dataclasses.dataclass(frozen=True)
class Shutdown:
    """To the worker: cancel what runs, then exit."""

    TYPE: ClassVar[str] = "shutdown"


@dataclasses.dataclass(frozen=True)
class Ready:
    """From the worker, first: the answer to ``hello``."""

    TYPE: ClassVar[str] = "ready"
    protocol_version: int
    backend_version: str
    python_version: str
    pid: int


@dataclasses.dataclass(frozen=True)
class Progress:
    """From the worker: ``done`` of ``total`` units of ``stage`` are finished.

    ``overall`` is the finished share of the whole job in 0..1 and ``remaining_s`` the estimated time left; both are -1 while unknown.
    """

    TYPE: ClassVar[str] = "progress"
    id: str
    stage: str
    done: float
    total: float
    unit: str = ""
    overall: float = -1.0
    remaining_s: float = -1.0


@dataclasses.dataclass(frozen=True)
class Log:
    """From the worker: one line for a person."""

    TYPE: ClassVar[str] = "log"
    id: str
    text: str


@dataclasses.dataclass(frozen=True)
class Artifact:
    """From the worker: a file worth looking at exists now."""

    TYPE: ClassVar[str] = "artifact"
    id: str
    path: str


@dataclasses.dataclass(frozen=True)
class Done:
    """From the worker, terminal: the job ended well."""

    TYPE: ClassVar[str] = "done"
    id: str
    result: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Cancelled:
    """From the worker, terminal: the job stopped because it was asked to."""

    TYPE: ClassVar[str] = "cancelled"
    id: str


@dataclasses.dataclass(frozen=True)
class Error:
    """From the worker. With an ``id`` it ends that job; with an empty ``id`` it is about the conversation itself."""

    TYPE: ClassVar[str] = "error"
    id: str
    code: str
    message: str
    hint: str = ""
    detail: dict[str, Any] = dataclasses.field(default_factory=dict)


ToWorker = Hello | Run | Cancel | Shutdown
FromWorker = Ready | Progress | Log | Artifact | Done | Cancelled | Error
Message = ToWorker | FromWorker
TO_WORKER: tuple[type[ToWorker], ...] = (Hello, Run, Cancel, Shutdown)
FROM_WORKER: tuple[type[FromWorker], ...] = (Ready, Progress, Log, Artifact, Done, Cancelled, Error)
TERMINAL = (Done, Cancelled, Error)


def encode(message: Message) -> bytes:
    """The message as one line, newline included.

    Raises:
        ProtocolError: a field has the wrong type, holds NaN, or the line is too long.
    """
    fields = {field.name: getattr(message, field.name) for field in dataclasses.fields(message)}
    _check_fields(type(message), fields)
    try:
        text = json.dumps({"type": message.TYPE, **fields}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        line = text.encode("utf-8") + b"\n"
    except (TypeError, ValueError) as error:  # a lone surrogate (a file name in no encoding) is a ValueError too
        raise ProtocolError([f"{message.TYPE} cannot be written as JSON: {error}"]) from error
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError([f"{message.TYPE} takes {len(line)} bytes, the limit is {MAX_LINE_BYTES}"])
    return line


def decode_to_worker(line: bytes) -> ToWorker:
    """Reads a line that came in at the worker. Raises ``ProtocolError``."""
    message = _decode(line, TO_WORKER)
    assert isinstance(message, TO_WORKER)
    return message


def decode_from_worker(line: bytes) -> FromWorker:
    """Reads a line that came out of the worker. Raises ``ProtocolError``."""
    message = _decode(line, FROM_WORKER)
    assert isinstance(message, FROM_WORKER)
    return message


def _decode(line: bytes, expected: tuple[type[Any], ...]) -> Message:
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError([f"the line takes {len(line)} bytes, the limit is {MAX_LINE_BYTES}"])
    try:
        content = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_object_without_repeats)
    except (ValueError, RecursionError) as error:
        raise ProtocolError([f"not a line of strict JSON: {error}"]) from error
    if not isinstance(content, dict):
        raise ProtocolError([f"an object is expected, not {type(content).__name__}"])
    kind = content.pop("type", None)
    for cls in expected:
        if kind == cls.TYPE:
            _check_fields(cls, content)
            message: Message = cls(**content)
            return message
    raise ProtocolError([f"type is {kind!r}; expected one of {', '.join(cls.TYPE for cls in expected)}"])


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _object_without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return content


_CHECKS: dict[str, tuple[str, type | tuple[type, ...]]] = {
    "str": ("text", str),
    "int": ("a whole number", int),
    "float": ("a number", (int, float)),
    "dict[str, Any]": ("an object", dict),
}


def _check_fields(cls: type[Message], content: dict[str, Any]) -> None:
    """Raises one ProtocolError that names every missing, unknown or ill-typed field."""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    problems = [f"{cls.TYPE} has no field {key!r}" for key in content if key not in fields]
    for name, field in fields.items():
        if name not in content:
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                problems.append(f"{cls.TYPE}.{name} is missing")
            continue
        words, wanted = _CHECKS[str(field.type)]
        value = content[name]
        if not isinstance(value, wanted) or isinstance(value, bool):
            problems.append(f"{cls.TYPE}.{name} must be {words}, not {value!r:.60}")
        elif isinstance(value, float) and not math.isfinite(value):
            problems.append(f"{cls.TYPE}.{name} is not finite")
        elif name == "id" and not value and cls is not Error:
            problems.append(f"{cls.TYPE}.id is empty")
        elif cls is Run and name == "kind" and value not in JOB_KINDS:
            problems.append(f"run.kind is {value!r}; expected one of {', '.join(JOB_KINDS)}")
        elif cls is Error and name == "code" and value not in ERROR_CODES:
            problems.append(f"error.code is {value!r}; expected one of {', '.join(ERROR_CODES)}")
    if problems:
        raise ProtocolError(problems)
