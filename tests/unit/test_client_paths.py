"""Where the backend is found: in a checkout, in an installed extension, in the light build."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from blender_avatar.client import paths

ROOT = Path(paths.__file__).resolve().parents[2]


def installed_copy(folder, with_backend):
    """The extension's layout after installation: contents of blender_avatar, and backend as a child."""
    shutil.copytree(ROOT / "blender_avatar", folder, ignore=shutil.ignore_patterns("__pycache__"))
    if with_backend:
        (folder / "backend").mkdir()
        for name in ("__init__.py", "protocol.py", "__main__.py", "worker.py"):
            shutil.copy(ROOT / "backend" / name, folder / "backend" / name)


def test_in_a_checkout_the_backend_is_a_sibling():
    assert paths.backend_dir() == ROOT / "backend"
    assert paths.backend_main() == ROOT / "backend" / "__main__.py"


@pytest.mark.parametrize("with_backend", [True, False])
def test_installed_the_backend_is_a_child(tmp_path, monkeypatch, with_backend):
    installed_copy(tmp_path / "somewhere" / "va_installed", with_backend)
    monkeypatch.syspath_prepend(tmp_path / "somewhere")
    try:
        installed = importlib.import_module("va_installed.client.paths")
        assert (installed.backend_main() is not None) == with_backend
        if with_backend:
            assert installed.backend_dir() == tmp_path / "somewhere" / "va_installed" / "backend"
            wire = importlib.import_module("va_installed.client.wire")
            assert wire.protocol.__name__ == "va_installed.backend.protocol", "loaded under the add-on's own name"
            assert wire.protocol.PROTOCOL_VERSION == 1
        assert installed.backend_main(str(ROOT)) == ROOT / "backend" / "__main__.py", "the preference may name a checkout"
        assert installed.backend_main(str(ROOT / "backend")) == ROOT / "backend" / "__main__.py"
        assert installed.backend_main(str(tmp_path)) is None
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "va_installed"]:
            del sys.modules[name]


def make_python(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_python_is_looked_for_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "backend_dir", lambda: tmp_path / "nowhere" / "backend")
    private, environment = tmp_path / "private", tmp_path / "chosen"
    in_variable = make_python(tmp_path / "variable" / "python3")
    environ = {paths.PYTHON_VARIABLE: str(in_variable)}
    assert paths.find_backend_python("", None, {}) is None
    assert paths.find_backend_python("", private, environ) == in_variable
    in_private = make_python(paths.python_in(private))
    assert paths.find_backend_python("", private, environ) == in_private
    in_environment = make_python(paths.python_in(environment))
    assert paths.find_backend_python(str(environment), private, environ) == in_environment, "a virtual environment's folder"
    assert paths.find_backend_python(str(in_variable), private, {}) == in_variable, "or the program itself"
    assert paths.find_backend_python(str(tmp_path / "gone"), private, environ) == in_private, "a stale preference falls through"
    beside = make_python(paths.python_in(tmp_path / "nowhere" / ".venv"))
    assert paths.find_backend_python("", None, {}) == beside, "a checkout's own environment comes last"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no executable bit")
def test_a_file_that_cannot_be_run_is_no_python(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "backend_dir", lambda: tmp_path / "nowhere" / "backend")
    make_python(tmp_path / "python").chmod(0o644)
    assert paths.find_backend_python(str(tmp_path / "python"), None, {}) is None


def test_the_link_of_a_virtual_environment_is_not_followed(tmp_path, monkeypatch):
    # followed, it would be the base Python, without the environment's packages
    monkeypatch.setattr(paths, "backend_dir", lambda: tmp_path / "nowhere" / "backend")
    link = tmp_path / "env" / "bin" / "python"
    link.parent.mkdir(parents=True)
    link.symlink_to(sys.executable)
    assert paths.find_backend_python(str(link), None, {}) == link


def test_outputs_get_the_first_free_name(tmp_path):
    clip, other = tmp_path / "anna.take 1.mp4", tmp_path / "avatars"
    assert paths.output_folder(clip, None, False) == tmp_path / "anna.take 1.avatar"
    (tmp_path / "anna.take 1.avatar").mkdir()
    (tmp_path / "anna.take 1_2.avatar").mkdir()
    assert paths.output_folder(clip, None, False) == tmp_path / "anna.take 1_3.avatar"
    assert paths.output_folder(clip, None, True) == tmp_path / "anna.take 1.avatar"
    assert paths.output_folder(clip, other, False) == other / "anna.take 1.avatar", "a folder to put it in"
    assert paths.output_folder(clip, tmp_path / "anna.take 1_2.avatar", False) == tmp_path / "anna.take 1_2.avatar", "a name is a name"


def test_the_client_loads_neither_bpy_nor_numpy_nor_torch():
    code = (
        "import sys, blender_avatar.client.backend, blender_avatar.client.request, blender_avatar.client.words;"
        "bad = {'bpy', 'numpy', 'torch'} & set(sys.modules); sys.exit(', '.join(bad) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
