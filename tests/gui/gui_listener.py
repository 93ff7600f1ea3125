"""Runs inside Blender: executes the Python that a test sends over a local socket, from a timer on the main thread."""

import json
import os
import socket
import traceback

import bpy

TICK_S = 0.02


def sidebar_region():
    """Window, area and region of the first 3D view's sidebar."""
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    return window, area, next(region for region in area.regions if region.type == "UI")


def button_under_mouse():
    """Python command or data path of what lies under the mouse in the sidebar; both empty between buttons."""
    window, area, region = sidebar_region()
    found = {"operator": "", "property": ""}
    with bpy.context.temp_override(window=window, area=area, region=region):
        # Blender tells a script what lies under the mouse only through the clipboard
        if bpy.ops.ui.copy_python_command_button.poll():
            bpy.ops.ui.copy_python_command_button()
            found["operator"] = window_manager().clipboard
        elif bpy.ops.ui.copy_data_path_button.poll():
            bpy.ops.ui.copy_data_path_button()
            found["property"] = window_manager().clipboard
    return found


def sidebar():
    """The sidebar's rectangle on the screen (left, top, width, height; px from the upper left corner) and its open tab."""
    window, _, region = sidebar_region()
    rectangle = [region.x, window.height - region.y - region.height, region.width, region.height]
    return {"rectangle": rectangle, "tab": getattr(region, "active_panel_category", "")}


def window_manager():
    """Asked for anew each time: loading a file may replace it."""
    return bpy.context.window_manager


def answer(listener, scope):
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        return TICK_S
    with connection:
        connection.setblocking(True)
        code = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        scope["result"], scope["wm"], error = None, window_manager(), ""
        try:
            exec(code, scope)
        except Exception:
            error = traceback.format_exc()
        connection.sendall(json.dumps({"result": scope["result"] if not error else None, "error": error}).encode())
    return TICK_S


def main():
    listener = socket.socket(socket.AF_UNIX)
    path = os.environ["GUI_LISTENER"]
    listener.bind(path + ".new")
    listener.listen(8)
    listener.setblocking(False)
    scope = {"bpy": bpy, "sidebar_region": sidebar_region, "button_under_mouse": button_under_mouse, "sidebar": sidebar}
    bpy.app.timers.register(lambda: answer(listener, scope), first_interval=1.0, persistent=True)
    os.rename(path + ".new", path)


main()
