"""Runs a script in a fresh Python with the bpy wheel and an empty user folder, with the built extension at hand. Not a test.

``AVATAR_BPY_PYTHON`` names another Python whose bpy is to be used: so the same tests run on other Blender versions.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

HEADER = '''
import json, os, sys
import bpy
import addon_utils  # comes with bpy
NAME = "bl_ext.user_default.video_avatar"
STATE = lambda: bpy.context.window_manager.video_avatar
def module(name):
    return sys.modules[f"{NAME}.{name}"]
def install(zip_path, enable=True):
    bpy.ops.extensions.package_install_files(filepath=zip_path, repo="user_default", enable_on_install=enable, overwrite=True)
def raises(call):
    try:
        call()
    except RuntimeError as error:
        return str(error)
    raise AssertionError("no error")
def policy_warnings():
    """What Blender says in the preferences about extensions that break its rules; it works that out only when asked."""
    addon_utils._extensions_warnings_get._is_first = True
    return dict(addon_utils._extensions_warnings_get())
RESULT = {}
'''
FOOTER = """
print("RESULT", json.dumps(RESULT), flush=True)
os._exit(0)  # bpy 4.5 may hang at interpreter exit
"""


def run_in_blender(script: str, user_folder: Path, environ: dict[str, str] | None = None, limit_s: float = 150.0) -> tuple[dict, str]:
    """Runs ``script`` after ``import bpy``.

    Returns:
        What it put into ``RESULT``, and everything that was printed.
    """
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("BLENDER_", "AVATAR_BACKEND"))}
    variables |= {"BLENDER_USER_RESOURCES": str(user_folder), **(environ or {})}
    code = HEADER + textwrap.dedent(script) + FOOTER
    done = subprocess.run([os.environ.get("AVATAR_BPY_PYTHON") or sys.executable, "-c", code], env=variables, capture_output=True, text=True, errors="replace", timeout=limit_s, cwd=user_folder)
    output = done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, f"the script did not reach its end (status {done.returncode}):\n{output[-4000:]}"
    return json.loads(lines[-1].removeprefix("RESULT ")), output
