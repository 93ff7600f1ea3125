"""What the sidebar shows and edits: choices saved with the scene, and the state of the running job."""
# Blender reads the annotations below as values; linters read the text in them as names.
# ruff: noqa: F722, F821

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, FloatVectorProperty, IntProperty, PointerProperty, StringProperty
from bpy.types import PropertyGroup

from .confidence import WEAK_BELOW

QUALITY_ITEMS = (
    ("DRAFT", "Draft", "Minutes on a laptop: see whether the clip works"),
    ("STANDARD", "Standard", "The usual choice"),
    ("HIGH", "High", "Finer texture and a closer fit; wants a graphics card or patience"),
)
DEVICE_ITEMS = (
    ("AUTO", "Automatic", "The graphics card when there is a usable one, else the processor"),
    ("CPU", "Processor", "Always compute on the processor"),
    ("CUDA", "NVIDIA", "Always compute on the NVIDIA card; fails when there is none"),
)
HEAD_MODEL_ITEMS = (
    ("ANNY", "Built-in", "The head that comes along; nothing to download, free for any use"),
    ("FLAME", "FLAME", "A FLAME file of your own (.pkl or .npz); mind its licence"),
    ("ICT", "ICT FaceKit", "An ICT FaceKit folder or file of your own"),
)
MOTION_ITEMS = (
    ("HEAD", "Head moves", "The camera stands still and the head moves, as filmed from a tripod"),
    ("CAMERA", "Camera moves", "The head stands still and the camera moves around it"),
)
CHANNEL_ITEMS = (
    ("HEAD", "Head", "How the head turns and moves"),
    ("EXPRESSIONS", "Expressions", "Mouth, cheeks, brows, jaw"),
    ("BLINKS", "Blinks", "Smoothed less than the rest: blinks are fast"),
    ("GAZE", "Gaze", "Eyes and the lids that go with them; smoothed less than the rest: eyes jump"),
)
ALL_CHANNELS = {item[0] for item in CHANNEL_ITEMS}
BAKE_FORMAT_ITEMS = (("PNG", "PNG", "8 bit, small"), ("EXR", "OpenEXR", "Half float, linear light"))
BACKEND_ITEMS = (
    ("UNKNOWN", "Not looked for yet", ""),
    ("MISSING", "Missing", ""),
    ("FOUND", "Found, not started", ""),
    ("READY", "Ready", ""),
)


def _another_video(self, context):
    self.has_consent = False  # it was given for the person in the other clip


def _redraw_everything(self, context):
    for window in context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in ("VIEW_3D", "DOPESHEET_EDITOR"):
                area.tag_redraw()


class VideoAvatarSettings(PropertyGroup):
    """Choices for a new avatar. Saved with the scene. Defaults equal the backend's."""

    video: StringProperty(
        name="Video", description="The clip: one person, face in view, good light", subtype="FILE_PATH", update=_another_video
    )
    quality: EnumProperty(name="Quality", description="How much time to spend", items=QUALITY_ITEMS, default="STANDARD")
    has_consent: BoolProperty(
        name="This is me, or I have consent",
        description="Make avatars only of yourself, or of people who agreed to it. The answer is stored in the avatar",
        default=False,
        options={"SKIP_SAVE"},
    )
    out: StringProperty(name="Output", description="NAME.avatar, or the folder to put it in; empty = beside the clip", subtype="DIR_PATH")
    head_model: EnumProperty(name="Head", description="Which head is fitted to the person", items=HEAD_MODEL_ITEMS, default="ANNY")
    head_model_path: StringProperty(name="File", description="Your FLAME file, or your ICT FaceKit folder", subtype="FILE_PATH")
    device: EnumProperty(name="Compute on", description="Where the work is done", items=DEVICE_ITEMS, default="AUTO")
    overwrite: BoolProperty(name="Replace", description="When the output folder holds an avatar already, replace it", default=False)
    motion: EnumProperty(name="Motion", description="What moves in the scene", items=MOTION_ITEMS, default="HEAD")

    show_confidence: BoolProperty(
        name="Show in timeline", description="Draw a strip into timeline and dope sheet: where the track is to be trusted, and where not",
        default=True, update=_redraw_everything,
    )
    show_pins: BoolProperty(name="Show pins", description="Draw the pins of the current frame into the 3D view", default=True, update=_redraw_everything)
    weak_below: FloatProperty(
        name="Weak below", description="Frames with less confidence than this are listed as weak", default=WEAK_BELOW, min=0.0, max=1.0,
        subtype="FACTOR", update=_redraw_everything,
    )
    range_start: IntProperty(name="From", description="First frame to track again or smooth", default=1)
    range_end: IntProperty(name="To", description="Last frame to track again or smooth", default=1)
    smooth_frames: FloatProperty(
        name="Strength", description="How many frames flow together. 0 = exactly as tracked, without any smoothing", default=1.0, min=0.0, max=50.0, soft_max=8.0
    )
    smooth_channels: EnumProperty(name="Channels", description="What is smoothed", items=CHANNEL_ITEMS, options={"ENUM_FLAG"}, default=ALL_CHANNELS)
    avatar_folder: StringProperty(name="Avatar folder", description="Where NAME.avatar lies now; empty = where it was", subtype="DIR_PATH")
    bake_format: EnumProperty(name="Format", description="File format of baked images", items=BAKE_FORMAT_ITEMS, default="PNG")
    bake_use_view: BoolProperty(
        name="Follow view", description="Baked images also follow how the head is turned to the clip's camera: nearest to the clip, for renders through that camera",
        default=False,
    )
    moved_video: StringProperty(name="Clip", description="Where the clip lies now; empty = where it was", subtype="FILE_PATH")


class VideoAvatarState(PropertyGroup):
    """What the panels draw of the running job. Written by ``session``, never saved."""

    job_state: StringProperty(default="idle")
    job_kind: StringProperty()
    draft_vertex: IntProperty(default=-1)  # a pin that is being placed
    draft_px: FloatVectorProperty(size=2)
    status: StringProperty()
    share: FloatProperty(min=0.0, max=1.0, subtype="FACTOR")
    time_left: StringProperty()
    error: StringProperty()
    hint: StringProperty()
    error_code: StringProperty()
    log_path: StringProperty()
    avatar_folder: StringProperty()
    note: StringProperty()
    remarks: StringProperty()  # one per line
    backend: EnumProperty(items=BACKEND_ITEMS, default="UNKNOWN")
    backend_text: StringProperty()
    is_program_missing: BoolProperty()


CLASSES = (VideoAvatarSettings, VideoAvatarState)


def register():
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Scene.video_avatar = PointerProperty(type=VideoAvatarSettings)
    bpy.types.WindowManager.video_avatar = PointerProperty(type=VideoAvatarState, options={"SKIP_SAVE"})


def unregister():
    del bpy.types.WindowManager.video_avatar
    del bpy.types.Scene.video_avatar
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
