"""The folder with the real Blender, for every test in a window."""

import os

import pytest
from gui_rootfs import Unavailable, ensure_rootfs


@pytest.fixture(scope="module")
def rootfs():
    wish = os.environ.get("AVATAR_GUI", "")
    if wish == "off":
        pytest.skip("AVATAR_GUI=off")
    try:
        return ensure_rootfs()
    except Unavailable as reason:
        if wish == "required":
            raise
        pytest.skip(f"no real Blender window here: {reason}")
