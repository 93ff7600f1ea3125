"""The message format: round trips, and everything that must be refused."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend import protocol
from backend.errors import CODES

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
ID = TEXT.filter(bool)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.dictionaries(TEXT, st.none() | st.booleans() | st.integers() | NUMBER | TEXT | st.lists(TEXT, max_size=3), max_size=4)

TO_WORKER = st.one_of(
    st.builds(protocol.Hello, st.integers(), TEXT),
    st.builds(protocol.Run, ID, st.sampled_from(protocol.JOB_KINDS), JSON),
    st.builds(protocol.Cancel, ID),
    st.just(protocol.Shutdown()),
)
FROM_WORKER = st.one_of(
    st.builds(protocol.Ready, st.integers(), TEXT, TEXT, st.integers()),
    st.builds(protocol.Progress, ID, TEXT, NUMBER, NUMBER, TEXT, NUMBER, NUMBER),
    st.builds(protocol.Log, ID, TEXT),
    st.builds(protocol.Artifact, ID, TEXT),
    st.builds(protocol.Done, ID, JSON),
    st.builds(protocol.Cancelled, ID),
    st.builds(protocol.Error, TEXT, st.sampled_from(protocol.ERROR_CODES), TEXT, TEXT, JSON),
)


@given(TO_WORKER)
def test_requests_survive_the_wire(message):
    line = protocol.encode(message)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert protocol.decode_to_worker(line) == message


@given(FROM_WORKER)
def test_answers_survive_the_wire(message):
    assert protocol.decode_from_worker(protocol.encode(message)) == message


@given(st.binary(max_size=60))
def test_noise_is_refused_with_a_typed_error(line):
    with pytest.raises(protocol.ProtocolError):
        protocol.decode_to_worker(line)


def test_every_problem_is_named_at_once():
    line = json.dumps({"type": "run", "id": "", "kind": "dance", "extra": 1}).encode()
    with pytest.raises(protocol.ProtocolError) as caught:
        protocol.decode_to_worker(line)
    text = " | ".join(caught.value.problems)
    assert len(caught.value.problems) == 4
    for part in ("extra", "run.id is empty", "dance", "run.settings is missing"):
        assert part in text


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"progress","id":"a","stage":"s","done":NaN,"total":1}',
        b'{"type":"progress","id":"a","stage":"s","done":1e999,"total":1}',
        b'{"type":"progress","id":"a","stage":"s","done":true,"total":1}',
        b'{"type":"cancelled","id":"a","id":"b"}',
        b'{"type":"cancelled","id":7}',
        b'{"type":"cancelled"}',
        b'{"type":"run","id":"a","kind":"dummy","settings":{}}',
        b'["cancelled"]',
        b"[" * 100_000,
        b'{"type":"log","id":"a","text":"\xff"}',
        b'{"type":"log","id":"a","text":"' + b"x" * protocol.MAX_LINE_BYTES + b'"}',
        b'{"type":"error","id":"a","code":"oops","message":"m"}',
    ],
)
def test_malformed_answers_are_refused(line):
    with pytest.raises(protocol.ProtocolError):
        protocol.decode_from_worker(line)


def test_what_is_no_json_cannot_be_sent():
    for result in ({"psnr": float("nan")}, {"array": object()}, {"name": "\ud800"}, {"text": "x" * protocol.MAX_LINE_BYTES}):
        with pytest.raises(protocol.ProtocolError):
            protocol.encode(protocol.Done("a", result))


def test_the_codes_are_those_of_the_errors():
    assert protocol.ERROR_CODES == CODES


def test_the_page_documents_every_message_and_field(request):
    page = (request.config.rootpath / "docs" / "protocol.md").read_text(encoding="utf-8")
    for cls in (*protocol.TO_WORKER, *protocol.FROM_WORKER):
        assert f"`{cls.TYPE}`" in page
        for field in dataclasses.fields(cls):
            assert f"`{field.name}`" in page, f"{cls.TYPE}.{field.name}"
