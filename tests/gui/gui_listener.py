"""Runs inside Blender: executes the Python that a test sends over a local socket, from a timer on the main thread."""

import json
import os
import socket
import traceback

import bpy

TICK_S = 0.02


def button_under_mouse():
    """Blender's own word for the active button of the sidebar; empty between buttons."""
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    region = next(region for region in area.regions if region.type == "UI")
    with bpy.context.temp_override(window=window, area=area, region=region):
        operator, prop = getattr(bpy.context, "button_operator", None), getattr(bpy.context, "button_prop", None)
        return {"operator": operator.bl_rna.identifier if operator else "", "property": prop.identifier if prop else ""}


def sidebar():
    """The sidebar's rectangle on the screen, (left, top, width, height) px from the upper left corner, and its active tab."""
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    region = next(region for region in area.regions if region.type == "UI")
    return {
        "rectangle": [region.x, window.height - region.y - region.height, region.width, region.height],
        "tab": getattr(region, "active_panel_category", ""),
    }


def answer(listener, scope):
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        return TICK_S
    with connection:
        connection.setblocking(True)
        code = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        scope["result"], error = None, ""
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
    scope = {"bpy": bpy, "wm": bpy.context.window_manager, "button_under_mouse": button_under_mouse, "sidebar": sidebar}
    bpy.app.timers.register(lambda: answer(listener, scope), first_interval=1.0, persistent=True)
    os.rename(path + ".new", path)


main()
