"""A virtual screen, a real Blender on it, a mouse and a camera.

The screen and the tools run inside the root folder (chroot). Blender itself runs on the host's file system, started through the root folder's
dynamic loader with its libraries: so it sees the repository and the backend's Python without mounts, and the child process it starts is the host's.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

WIDTH_PX, HEIGHT_PX = 1280, 800
SWEEPS = 3
TOOL_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
HERE = Path(__file__).resolve().parent


class Screen:
    """Xvfb and, on it, mouse, keyboard and screenshots."""

    def __init__(self, rootfs: Path, log: Path) -> None:
        self._rootfs = rootfs
        # a pipe would break the X server when nobody reads it, so it writes the number of its display to a file
        number = rootfs / "tmp" / f"display-{os.getpid()}"
        shell = f"exec Xvfb -displayfd 3 -screen 0 {WIDTH_PX}x{HEIGHT_PX}x24 +extension GLX -nolisten tcp 3>/tmp/{number.name}"
        with open(log, "wb") as handle:
            self._server = subprocess.Popen(["chroot", str(rootfs), "sh", "-c", shell], stdout=handle, stderr=handle, env={"PATH": TOOL_PATH})
        deadline = time.monotonic() + 30
        while not (number.exists() and number.read_text().endswith("\n")):
            if self._server.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise RuntimeError(f"the virtual screen did not come up: {log.read_text()}")
            time.sleep(0.05)
        self.display = f":{number.read_text().strip()}"
        number.unlink()

    def close(self) -> None:
        self._server.terminate()
        self._server.wait(10)

    def tool(self, *command: str) -> str:
        """Runs a program of the root folder on this screen; returns its output."""
        environ = {"PATH": TOOL_PATH, "DISPLAY": self.display, "HOME": "/root"}
        done = subprocess.run(["chroot", str(self._rootfs), *command], env=environ, capture_output=True, timeout=30, check=True)
        return done.stdout.decode(errors="replace")

    def move(self, x_px: int, y_px: int) -> None:
        """The mouse, from the upper left corner."""
        self.tool("xdotool", "mousemove", str(x_px), str(y_px))

    def click(self, x_px: int, y_px: int) -> None:
        self.move(x_px, y_px)
        time.sleep(0.15)  # Blender activates a button before it takes the click
        self.tool("xdotool", "click", "1")

    def key(self, *keys: str) -> None:
        self.tool("xdotool", "key", *keys)

    def type(self, text: str) -> None:
        self.tool("xdotool", "type", "--delay", "5", text)

    def screenshot(self, path: Path) -> Path:
        """Writes a PNG of the whole screen."""
        environ = {"PATH": TOOL_PATH, "DISPLAY": self.display, "HOME": "/root"}
        png = subprocess.run(["chroot", str(self._rootfs), "import", "-window", "root", "png:-"], env=environ, capture_output=True, timeout=30, check=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png.stdout)
        return path


def through_its_loader(rootfs: Path, program: str) -> list[str]:
    """Command line that runs a program of the root folder on the host's file system."""
    libraries = rootfs / "usr" / "lib" / "x86_64-linux-gnu"
    search = [libraries, rootfs / "usr" / "lib", *(libraries / name for name in ("pulseaudio", "blas", "lapack"))]
    return [str(rootfs / "lib64" / "ld-linux-x86-64.so.2"), "--library-path", ":".join(map(str, search)), str(rootfs / "usr" / "bin" / program)]


class Blender:
    """Blender in a window that fills the screen, with a listener that runs Python the test sends (``gui_listener.py``).

    Args:
        folder: scratch: user resources, socket, log.
        environ: added to Blender's environment.
    """

    def __init__(self, rootfs: Path, screen: Screen, folder: Path, environ: dict[str, str]) -> None:
        self.screen = screen
        self._socket_path = folder / "listener"
        self.log_path = folder / "blender.log"
        libraries = rootfs / "usr" / "lib" / "x86_64-linux-gnu"
        self._command = [*through_its_loader(rootfs, "blender"), "--python-use-system-env"]
        # Blender looks for its Python by name when it installs an extension
        python = folder / "bin" / "python3.13"
        python.parent.mkdir(parents=True, exist_ok=True)
        python.write_text(f'#!/bin/sh\nexec {shlex.join(through_its_loader(rootfs, "python3.13"))} "$@"\n')
        python.chmod(0o755)
        self._environ = {
            "PATH": f"{python.parent}:/usr/bin:/bin", "HOME": str(folder), "DISPLAY": screen.display, "LIBGL_ALWAYS_SOFTWARE": "1",
            "LIBGL_DRIVERS_PATH": str(libraries / "dri"), "GBM_BACKENDS_PATH": str(libraries / "gbm"),
            "__EGL_VENDOR_LIBRARY_DIRS": str(rootfs / "usr" / "share" / "glvnd" / "egl_vendor.d"), "FONTCONFIG_SYSROOT": str(rootfs),
            "PYTHONHOME": str(rootfs / "usr"), "BLENDER_SYSTEM_RESOURCES": str(rootfs / "usr" / "share" / "blender"),
            "BLENDER_USER_RESOURCES": str(folder / "user"), "GUI_LISTENER": str(self._socket_path), "LP_NUM_THREADS": "1", **environ,
        }  # fmt: skip
        self._folder = folder
        self.user_folder = folder / "user"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str) -> str:
        """Runs Blender once without a window, such as ``--command extension install-file``; returns its output."""
        command = [*self._command, "--background", "--factory-startup", *arguments]
        done = subprocess.run(command, env=self._environ, stdin=subprocess.DEVNULL, capture_output=True, cwd=self._folder, timeout=120)
        output = (done.stdout + done.stderr).decode(errors="replace")
        if done.returncode:
            raise RuntimeError(f"{arguments} failed: {output}")
        return output

    def open_window(self) -> None:
        """Starts Blender in a window that fills the screen, with the user's preferences."""
        size = ("0", "0", str(WIDTH_PX), str(HEIGHT_PX))
        command = [*self._command, "--window-geometry", *size, "--python", str(HERE / "gui_listener.py")]
        with open(self.log_path, "wb") as handle:
            self._process = subprocess.Popen(command, env=self._environ, stdin=subprocess.DEVNULL, stdout=handle, stderr=handle, cwd=self._folder)
        self._wait(lambda: self._socket_path.exists(), 120, "Blender did not come up")

    def run(self, code: str, limit_s: float = 120.0) -> Any:
        """Executes Python inside Blender, between two events; what it assigns to ``result`` comes back (JSON types)."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(limit_s)
            connection.connect(str(self._socket_path))
            connection.sendall(code.encode())
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        if not answer:
            raise RuntimeError(f"Blender ended: {self.log_path.read_text(errors='replace')[-2000:]}")
        content = json.loads(answer)
        if content["error"]:
            raise RuntimeError(f"inside Blender: {content['error']}")
        return content["result"]

    def value(self, expression: str) -> Any:
        """An expression's value; ``bpy`` and ``wm`` (the window manager) are there."""
        return self.run(f"result = {expression}")

    def wait_for(self, expression: str, limit_s: float) -> None:
        """Waits until an expression is true."""
        self._wait(lambda: self.value(expression), limit_s, f"not within {limit_s} s: {expression}")

    def close(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def button_under_mouse(self) -> dict[str, str]:
        """What lies under the mouse: ``operator`` (its Python command) or ``property`` (its data path); both empty between buttons."""
        return self.run("result = button_under_mouse()")

    def find_button(self, x_px: int, *, operator: str = "", prop: str = "", top_px: int = 60, step_px: int = 6) -> tuple[int, int]:
        """Runs the mouse down a column of the screen until Blender says that the wanted button lies under it; returns a point well inside it."""
        hits: list[int] = []
        for _ in range(SWEEPS):  # a busy machine may not have drawn the button yet
            for y_px in range(top_px, HEIGHT_PX - 30, step_px):
                self.screen.move(x_px, y_px)
                time.sleep(0.03)
                found = self.button_under_mouse()
                if (operator and found["operator"].startswith(f"bpy.ops.{operator}(")) or (prop and found["property"] == prop):
                    hits.append(y_px)
                elif hits:
                    break
            if hits:
                break
        else:
            raise LookupError(f"no button for {operator or prop} at x = {x_px}")
        return x_px, hits[len(hits) // 2]

    def _wait(self, condition: Any, limit_s: float, text: str) -> None:
        deadline = time.monotonic() + limit_s
        while not condition():
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"{text}\n{self.log_path.read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)


