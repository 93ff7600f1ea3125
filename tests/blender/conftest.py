"""Tests in Blender's Python module. Every test starts from an empty file; the process never hangs at its end."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

bpy = pytest.importorskip("bpy", reason="the bpy wheel is not installed")


@pytest.fixture(autouse=True)
def empty_file():
    """An empty scene before each test; handlers and timers of earlier tests are gone."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    yield
    for handlers in (bpy.app.handlers.frame_change_post, bpy.app.handlers.load_post, bpy.app.handlers.depsgraph_update_post):
        handlers.clear()


_status = [0]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    _status[0] = int(exitstatus)
    for folder in getattr(sys.modules.get("imported"), "scratch", ()):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    # Blender's module can hang while the interpreter shuts down (seen in 4.5): leave without that
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_status[0])
