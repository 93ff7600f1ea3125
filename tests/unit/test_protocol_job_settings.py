"""The worker's reading of job settings: strict, and typed errors that name the field."""

import pytest

from backend.errors import AvatarError
from backend.reporter import Reporter
from backend.worker_jobs import DummyRequest, ReconstructRequest, SynthRequest, read_request, run_job


@pytest.mark.parametrize(
    "cls, settings, field",
    [
        (DummyRequest, {"step": 1}, "step"),
        (DummyRequest, {"steps": "many"}, "steps"),
        (DummyRequest, {"steps": True}, "steps"),
        (DummyRequest, {"noise": 1}, "noise"),
        (ReconstructRequest, {"video": "/a.mp4"}, "out"),
        (ReconstructRequest, {"video": 3, "out": "/o"}, "video"),
        (SynthRequest, {"out": "/o", "config": [1]}, "config"),
    ],
)
def test_a_bad_setting_is_named(cls, settings, field):
    with pytest.raises(AvatarError) as caught:
        read_request(cls, settings)
    assert (caught.value.code, caught.value.detail["field"]) == ("bad_request", field)
    assert field in caught.value.message


def test_whole_numbers_are_numbers():
    assert read_request(DummyRequest, {"step_s": 1}).step_s == 1


def test_unknown_presets_never_reach_the_pipeline(tmp_path):
    with pytest.raises(AvatarError) as caught:
        run_job("reconstruct", {"video": "/a.mp4", "out": str(tmp_path / "o.avatar"), "preset": "ultra"}, Reporter())
    assert (caught.value.code, caught.value.detail["field"]) == ("bad_request", "preset")
