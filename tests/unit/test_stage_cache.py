"""The stage cache: reuse, recomputation, crash leftovers, damage, locking, disk full."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backend.errors import AvatarError, Cancelled
from backend.stage_cache import COMMIT_MARK, StageCache, stage_key


class Stage:
    """A stage that writes what it was told and counts how often it ran."""

    def __init__(self, content: str = "content") -> None:
        self.content, self.runs = content, 0

    def __call__(self, folder: Path) -> int:
        self.runs += 1
        (folder / "deep").mkdir()
        (folder / "deep" / "file.txt").write_text(self.content)
        return 7


def run(work: Path, compute, name: str = "one", config: dict | None = None, inputs: dict | None = None, version: str = "1"):
    with StageCache(work) as cache:
        return cache.run(name, code_version=version, inputs=inputs or {"clip": "aa"}, config=config or {"x": 1}, compute=compute)


def test_second_run_finds_the_result(tmp_path: Path) -> None:
    stage = Stage()
    first = run(tmp_path / "w", stage)
    second = run(tmp_path / "w", stage)
    assert stage.runs == 1
    assert (first.was_reused, second.was_reused) == (False, True)
    assert (second.folder / "deep" / "file.txt").read_text() == "content"
    assert second.frames == 7 and second.seconds == first.seconds and second.content_sha256 == first.content_sha256
    mark = json.loads((second.folder / COMMIT_MARK).read_text())
    assert mark["config"] == {"x": 1} and mark["inputs"] == {"clip": "aa"} and mark["files"]["deep/file.txt"]["bytes"] == 7
    assert mark["peak_memory_mib"] is None or mark["peak_memory_mib"] > 1


@pytest.mark.parametrize("change", [{"config": {"x": 2}}, {"inputs": {"clip": "bb"}}, {"version": "2"}, {"name": "other"}])
def test_any_change_computes_again_and_the_old_result_stays(tmp_path: Path, change: dict) -> None:
    stage = Stage()
    run(tmp_path / "w", stage)
    run(tmp_path / "w", stage, **change)
    run(tmp_path / "w", stage)
    assert stage.runs == 2


def test_content_hash_follows_the_files_not_the_settings(tmp_path: Path) -> None:
    same = run(tmp_path / "w", Stage("a"), config={"x": 1}).content_sha256
    assert run(tmp_path / "w", Stage("a"), config={"x": 2}).content_sha256 == same
    assert run(tmp_path / "w", Stage("b"), config={"x": 3}).content_sha256 != same


@pytest.mark.parametrize("damage", ["no mark", "bad mark", "file changed", "file missing", "file added"])
def test_damaged_result_is_computed_again(tmp_path: Path, damage: str) -> None:
    stage = Stage()
    folder = run(tmp_path / "w", stage).folder
    if damage == "no mark":
        (folder / COMMIT_MARK).unlink()
    elif damage == "bad mark":
        (folder / COMMIT_MARK).write_text("{")
    elif damage == "file changed":
        (folder / "deep" / "file.txt").write_text("CONTENT")
    elif damage == "file missing":
        (folder / "deep" / "file.txt").unlink()
    else:
        (folder / "more.txt").write_text("")
    again = run(tmp_path / "w", stage)
    assert stage.runs == 2 and not again.was_reused and (again.folder / "deep" / "file.txt").read_text() == "content"


@pytest.mark.parametrize("error", [RuntimeError("bug"), Cancelled(), AvatarError("bad_input", "no face")])
def test_failing_stage_leaves_nothing(tmp_path: Path, error: Exception) -> None:
    def fail(folder: Path) -> int:
        (folder / "half").write_text("x")
        raise error

    with pytest.raises(type(error)):
        run(tmp_path / "w", fail)
    assert not (tmp_path / "w").exists(), "an empty work folder goes away again"


def test_disk_full_is_a_typed_error(tmp_path: Path) -> None:
    def fail(folder: Path) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(AvatarError) as caught:
        run(tmp_path / "w", fail)
    assert caught.value.code == "environment" and "disk is full" in caught.value.message


def test_out_of_memory_is_a_typed_error(tmp_path: Path) -> None:
    def fail(folder: Path) -> int:
        raise MemoryError

    with pytest.raises(AvatarError) as caught:
        run(tmp_path / "w", fail)
    assert caught.value.code == "out_of_memory" and "draft" in caught.value.hint


def test_leftovers_of_killed_runs_are_removed(tmp_path: Path) -> None:
    stage = Stage()
    kept = run(tmp_path / "w", stage).folder
    left = tmp_path / "w" / ".one-123.99.part"
    left.mkdir()
    (left / "half").write_text("x")
    run(tmp_path / "w", stage)
    assert not left.exists() and kept.exists() and stage.runs == 1


def test_only_one_process_works_in_a_folder(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from backend.stage_cache import StageCache\n"
        "with StageCache(Path(sys.argv[1])): print('locked', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "w")], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    try:
        assert child.stdout is not None and child.stdout.readline() == b"locked\n"
        with pytest.raises(AvatarError) as caught:
            run(tmp_path / "w", Stage())
        assert caught.value.code == "bad_input" and "already working" in caught.value.message
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            assert run(tmp_path / "w", Stage()).frames == 7
            break
        except AvatarError:
            time.sleep(0.05)
    else:
        pytest.fail("the lock of a killed process must not stay")


def test_unwritable_work_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AvatarError) as caught:
        run(tmp_path / "file" / "w", Stage())
    assert caught.value.code == "bad_input"


def test_key_ignores_the_order_of_settings() -> None:
    assert stage_key("s", "1", {"a": "1", "b": "2"}, {"x": 1, "y": 2}) == stage_key("s", "1", {"b": "2", "a": "1"}, {"y": 2, "x": 1})
