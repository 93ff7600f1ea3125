"""The command line as a user meets it: words, exit statuses, JSON lines, Ctrl-C, started from anywhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backend import protocol
from backend.command_line import jobs
from backend.command_line.arguments import parse
from backend.command_line.main import EXIT_BY_CODE, main
from backend.command_line.terminal import time_left
from backend.errors import CODES, AvatarError, Cancelled

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATAR_CACHE", str(tmp_path_factory.mktemp("cache")))
    for name in ("OMP_WAIT_POLICY", "KMP_BLOCKTIME", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "NUMBA_CACHE_DIR"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # main() sets them; this puts them back


def typed(*arguments: object, cwd: Path = ROOT, code: str = "") -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own. code: Python to run first (then ``main`` is called)."""
    command = [sys.executable, "-m", "backend"] if not code else [sys.executable, "-c", f"{code}\nimport sys\nfrom backend.command_line.main import main\nsys.exit(main(sys.argv[1:]))"]
    return subprocess.run([*command, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def lines(text: str) -> list[protocol.FromWorker]:
    return [protocol.decode_from_worker(line.encode()) for line in text.splitlines()]


class TestArguments:
    def test_reconstruct(self) -> None:
        command = parse(["reconstruct", "clip.mp4", "--out", "me.avatar"])
        assert command.kind == "reconstruct" and not command.is_json
        assert command.settings == {
            "video": Path("clip.mp4"), "out": Path("me.avatar"), "rig": "anny", "preset": "standard", "device": "auto", "consent": False, "overwrite": False,
        }

    def test_defaults_equal_the_workers(self) -> None:
        from backend.worker_jobs import ReconstructRequest

        settings = parse(["reconstruct", "a", "--out", "b"]).settings
        request = ReconstructRequest(video="a", out="b")
        assert {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()} == vars(request)

    def test_synth(self) -> None:
        command = parse("synth --out synth/ --seconds 4 --size 256 --seed 1 --renderer fast".split())
        assert command.settings["size"] == (256, 256) and command.settings["seconds"] == 4.0 and command.settings["seed"] == 1
        assert parse("synth --out s --size 360x640".split()).settings["size"] == (640, 360), "typed as width x height, kept as height, width"

    @pytest.mark.parametrize(
        "arguments",
        [
            [], ["frobnicate"], ["reconstruct"], ["reconstruct", "a"], ["reconstruct", "a", "--out", "b", "--frobnicate"], ["synth", "--out", "a", "--size", "big"],
            ["synth", "--out", "a", "--seconds", "long"], ["reconstruct", "a", "--out", "b", "--over"], ["evaluate"],
        ],
    )  # fmt: skip
    def test_nonsense_is_refused(self, arguments: list[str]) -> None:
        with pytest.raises(AvatarError) as caught:
            parse(arguments)
        assert caught.value.code == "bad_request" and "--help" in caught.value.hint


class TestExitStatus:
    def test_every_code_has_its_own(self) -> None:
        assert set(EXIT_BY_CODE) == set(CODES) and len(set(EXIT_BY_CODE.values())) == len(CODES)
        assert min(EXIT_BY_CODE.values()) == 2 and max(EXIT_BY_CODE.values()) < 126

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            ("reconstruct {tmp}/nowhere.mp4 --out {tmp}/me.avatar", "bad_input", "nowhere.mp4"),
            ("reconstruct {tmp}/text.mp4 --out {tmp}/me.avatar --preset best", "bad_request", "draft, standard, high"),
            ("reconstruct {tmp}/text.mp4 --out {tmp}/me.avatar --device tpu", "bad_request", "auto, cpu, cuda"),
            ("reconstruct {tmp}/text.mp4 --out {tmp}/me.avatar --rig mine", "bad_request", "flame:FILE"),
            ("reconstruct {tmp}/text.mp4 --out {tmp}/me.avatar --rig flame:{tmp}/none.pkl", "asset_missing", "none.pkl"),
            ("reconstruct {tmp}/text.mp4 --out {tmp}/taken.avatar", "bad_request", "taken.avatar"),
            ("reconstruct {tmp}/text.mp4 --out /proc/me.avatar", "bad_input", "/proc"),
            ("evaluate {tmp}/none.avatar", "bad_input", "none.avatar"),
            ("synth --out {tmp}/s --renderer crayon", "bad_request", "fast, cycles"),
            ("frobnicate", "bad_request", "frobnicate"),
        ],
    )
    def test_bad_input_is_told_in_words(self, arguments: str, code: str, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "text.mp4").write_text("this is no video")
        (tmp_path / "taken.avatar").mkdir()
        (tmp_path / "taken.avatar" / "avatar.json").write_text("{}")
        before = sorted(tmp_path.rglob("*"))
        status = main(arguments.format(tmp=tmp_path).split())
        said = capfd.readouterr()
        assert status == EXIT_BY_CODE[code], said.err
        assert words in said.err.replace("\n", " ") and "Traceback" not in said.err and not said.out
        assert sorted(tmp_path.rglob("*")) == before, "nothing is left behind"

    def test_the_same_as_json(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["reconstruct", str(tmp_path / "nowhere.mp4"), "--out", str(tmp_path / "me.avatar"), "--json"]) == EXIT_BY_CODE["bad_input"]
        said = lines(capfd.readouterr().out)
        assert isinstance(said[-1], protocol.Error) and said[-1].code == "bad_input" and said[-1].hint
        assert main(["reconstruct", "--json"]) == EXIT_BY_CODE["bad_request"]
        assert [message.TYPE for message in lines(capfd.readouterr().out)] == ["error"]


class TestRunning:
    """With a job made for the purpose in the place of ``probe``."""

    def replace(self, monkeypatch: pytest.MonkeyPatch, run) -> None:
        monkeypatch.setitem(jobs.JOBS, "probe", jobs.CommandJob(lambda options, reporter: run(reporter), lambda stream, result: print(result["answer"], file=stream)))

    def test_answer_on_stdout_progress_on_stderr(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        def work(reporter):
            sys.stdout.write("library noise\n")
            os.write(1, b"noise below Python\n")
            os.write(2, b"warning below Python\n")
            for step in range(3):
                reporter.overall(step / 3, 10.0)
                reporter.progress("capture", step, 3, "frames")
            reporter.log("two faces [found]")
            return {"answer": 42}

        self.replace(monkeypatch, work)
        assert main(["probe"]) == 0
        said = capfd.readouterr()
        assert said.out == "42\n"
        assert "two faces [found]" in said.err and "capture" in said.err and "noise" not in said.err and "warning" not in said.err
        logs = list(Path(os.environ["AVATAR_CACHE"]).glob("logs/*.log"))
        assert len(logs) == 1 and all(text in logs[0].read_text() for text in ("library noise", "noise below Python", "warning below Python"))

    def test_json_lines_are_the_workers_messages(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        def work(reporter):
            os.write(1, b"noise\n")
            reporter.overall(0.5, 3.0)
            reporter.progress("capture", 1, 2, "frames")
            reporter.log("a note")
            reporter.artifact(Path("x.avatar"))
            return {"answer": 42}

        self.replace(monkeypatch, work)
        assert main(["probe", "--json"]) == 0
        said = lines(capfd.readouterr().out)
        assert [message.TYPE for message in said] == ["progress", "log", "artifact", "done"]
        assert said[0].overall == 0.5 and said[0].remaining_s == 3.0 and said[3].result == {"answer": 42}

    def test_a_bug_is_short_and_the_log_is_long(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        def work(reporter):
            raise ZeroDivisionError("deep inside")

        self.replace(monkeypatch, work)
        assert main(["probe"]) == EXIT_BY_CODE["internal"]
        said = capfd.readouterr().err
        log = next(Path(os.environ["AVATAR_CACHE"]).glob("logs/*.log"))
        assert "Traceback" not in said and log.name in said.replace("\n", "")
        assert "Traceback" in log.read_text() and "deep inside" in log.read_text()

    @pytest.mark.parametrize(("error", "code"), [(MemoryError(), "out_of_memory"), (ImportError("No module named 'torch'"), "environment")])
    def test_other_failures_are_typed(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: Exception, code: str) -> None:
        def work(reporter):
            raise error

        self.replace(monkeypatch, work)
        assert main(["probe", "--json"]) == EXIT_BY_CODE[code]
        assert lines(capfd.readouterr().out)[-1].code == code

    def test_cancelled(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        def work(reporter):
            raise Cancelled

        self.replace(monkeypatch, work)
        assert main(["probe"]) == 130 and "cancelled" in capfd.readouterr().err
        assert main(["probe", "--json"]) == 130
        assert [message.TYPE for message in lines(capfd.readouterr().out)] == ["cancelled"]

    def test_no_log_folder_is_no_obstacle(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setenv("AVATAR_CACHE", "/proc/nowhere")
        self.replace(monkeypatch, lambda reporter: {"answer": 1})
        assert main(["probe"]) == 0 and capfd.readouterr().out == "1\n"


SLOW_JOB = """
import time
from backend.command_line import jobs
def run(options, reporter):
    reporter.log("started")
    for step in range({steps}):
        reporter.progress("slow", step, {steps})
        time.sleep(0.05)
    time.sleep({deaf_s})
    return {{}}
jobs.JOBS["probe"] = jobs.CommandJob(run, lambda stream, result: None)
"""


@pytest.mark.parametrize(("number", "job"), [(signal.SIGINT, {"steps": 600, "deaf_s": 0}), (signal.SIGTERM, {"steps": 600, "deaf_s": 0}), (signal.SIGINT, {"steps": 0, "deaf_s": 60})])
def test_ctrl_c(number: signal.Signals, job: dict[str, int]) -> None:
    """One stops a job that listens; two stop one that does not."""
    code = f"{SLOW_JOB.format(**job)}\nimport sys\nfrom backend.command_line.main import main\nsys.exit(main(['probe']))"
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stderr is not None and "started" in child.stderr.readline()
        child.send_signal(number)
        if job["deaf_s"]:
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(0.3)
            child.send_signal(number)
        _, said = child.communicate(timeout=20)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 130 and "cancelled" in said and "Traceback" not in said


def test_started_by_path_isolated_and_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-I", str(ROOT / "backend" / "__main__.py"), "probe", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    result = lines(done.stdout)[-1].result
    assert result["versions"]["numpy"] and result["machine"]["threads"] >= 1 and isinstance(result["missing"], list)


def test_the_packages_own_files_are_not_importable_by_short_names(tmp_path: Path) -> None:
    """``python backend/__main__.py`` puts that folder on the path; ``import errors`` must not find ours."""
    code = "import runpy, sys; sys.argv = ['x', '--version']; sys.path.insert(0, r'{0}')\ntry:\n    runpy.run_path(r'{0}/__main__.py', run_name='__main__')\nexcept SystemExit:\n    pass\nprint(r'{0}' in sys.path)"
    done = subprocess.run([sys.executable, "-c", code.format(ROOT / "backend")], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[-1] == "False", done.stderr


def test_help_and_version_need_nothing_heavy() -> None:
    code = "import sys; sys.modules.update(dict.fromkeys(['torch', 'numpy', 'mediapipe', 'rich']))"
    for arguments in (["--help"], ["reconstruct", "--help"], ["--version"]):
        done = typed(*arguments, code=code)
        assert done.returncode == 0, done.stderr
    assert "Video Avatar" in done.stdout


def test_threads_are_limited_before_torch_is_imported() -> None:
    code = "import os\nfor name in list(os.environ):\n    if name.startswith(('OMP', 'MKL', 'NUMBA', 'OPENBLAS')): del os.environ[name]"
    done = typed("probe", "--json", code=code)
    assert done.returncode == 0, done.stderr
    cores, threads = (lines(done.stdout)[-1].result["machine"][name] for name in ("cores", "threads"))
    assert threads == max(1, cores - 1)


@pytest.mark.parametrize(("seconds", "text"), [(None, ""), (3, "about 5 s left"), (42, "about 40 s left"), (125, "about 2 min left"), (7200, "about 2.0 h left")])
def test_time_left_in_words(seconds: float | None, text: str) -> None:
    assert time_left(seconds) == text
