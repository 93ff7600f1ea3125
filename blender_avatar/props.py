"""What the sidebar shows and edits: choices saved with the scene, and the state of the running job."""
# Blender reads the annotations below as values; linters read the text in them as names.
# ruff: noqa: F722, F821

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, PointerProperty, StringProperty
from bpy.types import PropertyGroup

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
BACKEND_ITEMS = (
    ("UNKNOWN", "Not looked for yet", ""),
    ("MISSING", "Missing", ""),
    ("FOUND", "Found, not started", ""),
    ("READY", "Ready", ""),
)


def _another_video(self, context):
    self.has_consent = False  # it was given for the person in the other clip


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


class VideoAvatarState(PropertyGroup):
    """What the panels draw of the running job. Written by ``session``, never saved."""

    job_state: StringProperty(default="idle")
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
