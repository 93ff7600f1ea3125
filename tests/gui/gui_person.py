"""What a person does with mouse and keyboard in the sidebar, and a Blender with the extension for them to do it in. Not a test."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from gui_machine import Blender, Screen

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = Path(__file__).resolve().parent / "output"
"""Screenshots and Blender's log."""


class Person:
    """What a person does in the sidebar, in terms of what they see there."""

    def __init__(self, blender, screen):
        self.blender, self.screen, self.num_pictures = blender, screen, 0

    @property
    def middle_px(self):
        left, _, width, _ = self.blender.run("result = sidebar()")["rectangle"]
        return left + width // 2 - 15  # the tabs take a strip on the right

    @property
    def left_px(self):
        return self.blender.run("result = sidebar()")["rectangle"][0] + 30

    def picture(self, name):
        self.num_pictures += 1
        for _ in range(2):  # the answer to a request comes after the redraw that the one before has asked for
            self.blender.run("[area.tag_redraw() for window in wm.windows for area in window.screen.areas]")
            time.sleep(0.2)
        self.blender.value("0")
        return self.screen.screenshot(OUTPUT / f"{self.num_pictures:02d}_{name}.png")

    def open_tab(self):
        self.rest()
        self.screen.key("n")
        time.sleep(1)
        left, top, width, height = self.blender.run("result = sidebar()")["rectangle"]
        for y_px in range(top + 10, top + height, 25):
            self.screen.click(left + width - 13, y_px)
            time.sleep(0.2)
            if self.blender.run("result = sidebar()")["tab"] == "Video Avatar":
                return
        raise LookupError("no tab Video Avatar")

    def rest(self):
        """The mouse into the empty part of the 3D view."""
        self.screen.move(300, 560)
        time.sleep(0.2)

    def press(self, operator):
        self.screen.click(*self.blender.find_button(self.middle_px, operator=operator))
        time.sleep(0.3)

    def tick(self, prop):
        self.screen.click(*self.blender.find_button(self.left_px, prop=prop))
        time.sleep(0.3)

    def choose_first(self, prop):
        """Clicks the first of the choices that stand side by side after a label."""
        self.screen.click(*self.blender.find_button(self.left_px + 60, prop=prop))
        time.sleep(0.3)

    def write(self, prop, text):
        self.screen.move(*self.blender.find_button(self.middle_px, prop=prop))
        time.sleep(0.15)
        self.screen.tool("xdotool", "click", "--repeat", "2", "--delay", "80", "1")
        time.sleep(0.4)
        self.screen.key("ctrl+a")
        self.screen.type(text)
        self.screen.key("Return")
        time.sleep(0.4)
        self.rest()


@contextlib.contextmanager
def blender_with_extension(rootfs: Path, folder: Path, log_name: str) -> Iterator[Person]:
    """Builds and installs the zip, opens the window, and closes it all again.

    Args:
        folder: scratch. log_name: what Blender's log is called in the output folder.
    """
    sys.path.insert(0, str(ROOT))
    import build

    zip_path = build.build(folder / "dist")
    screen = Screen(rootfs, folder / "screen.log")
    try:
        blender = Blender(rootfs, screen, folder, {"AVATAR_BACKEND_PYTHON": sys.executable})
        try:
            blender.command("--command", "extension", "install-file", "-r", "user_default", "--enable", str(zip_path))
            blender.open_window()
            blender.run("bpy.context.preferences.view.show_splash = False")
            someone = Person(blender, screen)
            someone.rest()
            screen.key("Escape")
            yield someone
        finally:
            blender.close()
            OUTPUT.mkdir(parents=True, exist_ok=True)
            shutil.copy(blender.log_path, OUTPUT / log_name)
    finally:
        screen.close()
