"""The one backend of this Blender, and what happens between its messages and the sidebar.

Module state lives here and only here: the session exists between ``register`` and ``unregister``.
"""

import os
import tempfile
import time
from pathlib import Path

import bpy
from bpy.app.handlers import persistent

from .client.backend import Backend
from .client.job import Failure, State
from .client.paths import backend_main, find_backend_python
from .client.process import Launch
from .client.words import machine_text, missing_text, remarks, status_text, time_left_text

TICK_S = 0.1

RESULT_ARGUMENTS = {"reconstruct": ("directory", "folder"), "track_again": ("patch", "patch"), "bake_textures": ("folder", "folder")}
"""Kind of job -> which argument of the follow-up takes which entry of the result."""

FILE_CHANGED_TEXTS = {
    "reconstruct": "The avatar is ready, but another file is open now.",
    "track_again": "The new track was not used, because another file is open now. Open the avatar's file and track again.",
    "bake_textures": "The images are baked, but another file is open now. Open the avatar's file and use Baked images from folder.",
}


class Session:
    """Backend, running job, and what to do when it ends."""

    def __init__(self):
        self.backend = Backend()
        self.follow_up = None  # operator that takes the result in, and its keyword arguments; None = nobody does
        self.is_file_changed = False
        self.package_folders = {}  # hash of the clip -> where its avatar was imported from, since Blender was started
        self.machine = ""  # what the last probe said, as one line

    # --- starting -------------------------------------------------------------------------------------------------

    def start(self, kind, settings, follow_up=None):
        """Starts a job. Returns a Failure when there is nothing to start it with, else None.

        Args:
            follow_up: (name of an operator of ours, its keyword arguments), called with the result when the job is done.
        """
        launch = find_launch()
        if isinstance(launch, Failure):
            show_failure(launch)
            return launch
        self.follow_up, self.is_file_changed = follow_up, False
        self.backend.run(launch, kind, settings)
        self.show()
        if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
            bpy.app.timers.register(_tick, first_interval=TICK_S, persistent=True)
        return None

    def wait(self):
        """Pumps until the job has ended. For background mode, where timers do not fire."""
        while self.backend.pump():
            time.sleep(TICK_S / 4)
        self.show()
        return self.backend.job

    # --- showing --------------------------------------------------------------------------------------------------

    def show(self):
        """Copies the job's state to where the panels read it."""
        state, job = _state(), self.backend.job
        if job is None:
            return
        state.job_state, state.job_kind = job.state.value, job.kind
        state.status = status_text(job)
        state.share = job.share
        state.time_left = time_left_text(job.remaining_s) if job.state is State.RUNNING else ""
        if job.kind == "probe" and job.state is State.DONE:
            self.machine = machine_text(job.result)
        if self.backend.ready:
            state.backend = "READY"
            state.backend_text = ", ".join(part for part in ("Ready", self.machine, f"Python {self.backend.ready.python_version}") if part)
        elif state.backend == "READY":
            state.backend, state.backend_text = "FOUND", "Found; starts when needed"
        missing = missing_text(job.result) if job.kind == "probe" and job.state is State.DONE else ""
        show_failure(Failure("environment", *missing) if missing else job.failure)
        if job.state is State.DONE and job.kind == "reconstruct":
            state.avatar_folder = job.result["folder"]
        if job.kind == "reconstruct":
            state.remarks = "\n".join(remarks(job))
        is_stopped = job.state is State.CANCELLED
        state.note = ("Stopped. Nothing was changed." if job.kind in ("track_again", "bake_textures") else "Stopped. Finished steps are kept: start again to go on.") if is_stopped else ""

    def finish(self):
        """After the last message, in the user interface: the result goes into the scene, as its own undo step."""
        job = self.backend.job
        if job.state is not State.DONE or self.follow_up is None:
            return
        if self.is_file_changed:
            _state().note = FILE_CHANGED_TEXTS.get(job.kind, "")
            return
        windows = bpy.context.window_manager.windows
        if not windows:
            return
        operator, options = self.follow_up
        with bpy.context.temp_override(window=windows[0]):
            try:
                getattr(bpy.ops.video_avatar, operator)("EXEC_DEFAULT", True, **{RESULT_ARGUMENTS[job.kind][0]: job.result[RESULT_ARGUMENTS[job.kind][1]]}, **options)
            except RuntimeError:  # reported, and shown in the panel, by the operator itself
                return
        if job.kind == "reconstruct":
            _frame_selected()


_session = None


def current():
    """The session. Exists while the add-on is registered."""
    return _session


def look_for_backend():
    """Finds out, without starting anything, whether there is a backend, for the panels."""
    if _session is None or _session.backend.ready:
        return
    state, launch = _state(), find_launch()
    state.is_program_missing = isinstance(launch, Failure) and launch.detail.get("lacks") == "program"
    if isinstance(launch, Failure):
        state.backend, state.backend_text = "MISSING", launch.message
    else:
        state.backend, state.backend_text = "FOUND", "Found; starts when needed"
    _redraw()


def preferences():
    """This add-on's preferences, or None when it is registered outside the preferences (scripts, tests)."""
    add_on = bpy.context.preferences.addons.get(__package__)
    return add_on.preferences if add_on else None


def find_launch():
    """How to start the worker, or a Failure that says what is missing."""
    prefs = preferences()
    folder = bpy.path.abspath(prefs.backend_folder) if prefs else ""
    python = bpy.path.abspath(prefs.backend_python) if prefs else ""
    main = backend_main(folder)
    if main is None:
        hint = "Choose the backend's folder in the add-on's preferences, or install the full build."
        text = f"There is no backend in {folder}." if folder else "This build comes without the backend."
        return Failure("environment", text, hint, {"lacks": "program"})
    found = find_backend_python(python, None, os.environ)
    if found is None:
        return Failure("environment", "No Python for the backend was found.", "Choose it in the add-on's preferences.", {"lacks": "python"})
    return Launch(found, main, log_folder() / "worker.log")


def log_folder():
    """A folder for logs: the extension's own, or the temporary one when this is no installed extension."""
    try:
        return Path(bpy.utils.extension_path_user(__package__, path="logs", create=True))
    except ValueError:
        return Path(tempfile.gettempdir()) / "video_avatar"


def show_failure(failure):
    """Puts a failure where the button was; None takes it away."""
    state = _state()
    state.error = failure.message if failure else ""
    state.hint = failure.hint if failure else ""
    state.error_code = failure.code if failure else ""
    has_log = failure is not None and failure.code in ("internal", "environment", "out_of_memory", "protocol")
    log = str(log_folder() / "worker.log") if has_log else ""
    state.log_path = log if os.path.exists(log) else ""
    _redraw()


def show_note(text):
    """Puts a line that is no error where the button was."""
    show_failure(None)
    _state().note = text


def clear_messages():
    """Takes away error, note and the offer to import."""
    state = _state()
    state.note = state.avatar_folder = ""
    show_failure(None)


def _state():
    return bpy.context.window_manager.video_avatar


def _tick():
    """The persistent timer: runs while a job is on its way."""
    if _session is None:
        return None
    is_busy = _session.backend.pump()
    _session.show()
    if not is_busy:
        _session.finish()
    return TICK_S if is_busy else None


def _frame_selected():
    """Brings what was just imported before the artist's eyes: a head is small beside a default cube."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D" and area.spaces.active.region_3d.view_perspective != "CAMERA":
                region = next(region for region in area.regions if region.type == "WINDOW")
                with bpy.context.temp_override(window=window, area=area, region=region):
                    bpy.ops.view3d.view_selected()


def _redraw():
    """Sidebars show what changed; without this, only when the mouse next passes."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()


def _first_look():
    """Runs once after start-up: panels must not look at files while they draw."""
    look_for_backend()
    return None


@persistent
def _file_loaded(*_):
    if _session is not None:
        _session.is_file_changed = True
        _state().draft_vertex = -1
        _session.show()
        look_for_backend()


def register():
    global _session
    _session = Session()
    bpy.app.handlers.load_post.append(_file_loaded)
    if not bpy.app.background:
        bpy.app.timers.register(_first_look, first_interval=0.0, persistent=True)


def unregister():
    global _session
    for timer in (_tick, _first_look):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
    if _file_loaded in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.remove(_file_loaded)
    if _session is not None:
        _session.backend.close()
    _session = None
