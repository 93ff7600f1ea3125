"""Settings of every stage: frozen, checked, and written with each result. Standard library only."""

from __future__ import annotations

import dataclasses
from typing import Any

from .errors import AvatarError

PRESETS = ("draft", "standard", "high")
DEVICES = ("auto", "cpu", "cuda")


def _check(field: str, is_good: bool, value: object, allowed: str) -> None:
    if not is_good:
        raise AvatarError("bad_request", f"{field} is {value!r}.", f"Allowed: {allowed}.", {"field": field, "value": value, "allowed": allowed})


@dataclasses.dataclass(frozen=True)
class CaptureConfig:
    """Reading a clip."""

    kind: str = "performance"
    """What the person does: performance, sweep or chair."""
    max_frames: int = 0
    """Use at most this many frames from the start; 0 = all."""
    focal_px: float = 0.0
    """Focal length in pixels of the upright frame when the user knows it; 0 = from metadata, else estimated."""
    is_mirrored: bool = False
    """The clip shows a mirror image (some selfie cameras)."""
    min_face_px: float = 64.0
    """Smallest face width that is accepted, px."""
    crop_px: int = 256
    """Side of the square crop in which matte and parsing are stored, px."""

    def __post_init__(self) -> None:
        _check("capture.kind", self.kind in ("performance", "sweep", "chair"), self.kind, "performance, sweep, chair")
        _check("capture.max_frames", self.max_frames >= 0, self.max_frames, "0 or more")
        _check("capture.focal_px", self.focal_px >= 0, self.focal_px, "0 or more")
        _check("capture.min_face_px", self.min_face_px >= 16, self.min_face_px, "16 or more")
        _check("capture.crop_px", 64 <= self.crop_px <= 2048, self.crop_px, "64 to 2048")


@dataclasses.dataclass(frozen=True)
class TrackConfig:
    """Fitting the head model to landmarks and pixels."""

    num_key_frames: int = 48
    """Training frames from which identity and focal length are estimated."""
    smooth_frames: float = 1.0
    """Standard deviation of the zero-phase smoothing of the animation, frames; 0 = none."""
    scale: float = 0.0
    """Size of the rig as a factor when the user knows it; 0 = from iris and pupil distance."""
    use_photometric: bool = True
    """Refine by the pixels after the landmarks; False = landmarks only."""
    use_silhouette: bool = True
    """With the pixels: hold the head's outline against the matte."""
    use_temporal: bool = True
    """Tie neighbouring frames together."""
    use_gaze: bool = True
    """Let the iris landmarks turn the eyes."""
    face_px: int = 256
    """Height of the face in the pictures that are compared, px; the clip is never enlarged."""
    num_points: int = 2500
    """Surface points whose colours are compared."""
    num_photometric_keys: int = 24
    """Training frames from which identity, albedo and light are refined."""
    num_workers: int = 0
    """Processes that compare pixels, one thread each; 0 = one core is left free, 1 = in this process. The result does not depend on it."""

    def __post_init__(self) -> None:
        _check("track.num_key_frames", self.num_key_frames >= 2, self.num_key_frames, "2 or more")
        _check("track.smooth_frames", 0 <= self.smooth_frames <= 50, self.smooth_frames, "0 to 50")
        _check("track.scale", self.scale >= 0, self.scale, "0 or more")
        _check("track.face_px", 64 <= self.face_px <= 1024, self.face_px, "64 to 1024")
        _check("track.num_points", 100 <= self.num_points <= 20000, self.num_points, "100 to 20000")
        _check("track.num_photometric_keys", self.num_photometric_keys >= 3, self.num_photometric_keys, "3 or more")
        _check("track.num_workers", 0 <= self.num_workers <= 256, self.num_workers, "0 to 256")


@dataclasses.dataclass(frozen=True)
class TextureConfig:
    """Unwrapping the clip onto the head."""

    size_px: int = 1024
    """Side of the square texture, px."""
    num_frames: int = 120
    """Training frames that are unwrapped, spread over poses and expressions."""

    def __post_init__(self) -> None:
        _check("texture.size_px", self.size_px in (256, 512, 1024, 2048, 4096), self.size_px, "256, 512, 1024, 2048, 4096")
        _check("texture.num_frames", self.num_frames >= 1, self.num_frames, "1 or more")


@dataclasses.dataclass(frozen=True)
class DynamicTextureConfig:
    """Training the network that repaints the texture with the expression."""

    enabled: bool = True
    """False = the avatar has its static texture only."""
    num_steps: int = 2500
    """Optimisation steps."""
    batch_size: int = 4
    """Frames per step."""
    canvas_px: int = 256
    """Side of the square that the network paints, px: 256 or 512."""
    decoder: str = "shuffle"
    """shuffle (a quarter of the size, then pixels rearranged; fast) or transposed (transposed convolutions up to the full size)."""
    render_px: int = 256
    """Side of the pictures of the face that are compared, px; the clip is never enlarged."""
    max_frames: int = 600
    """Training frames that are used at most, spread over poses and expressions."""
    learning_rate: float = 2e-3
    """Of Adam; it falls along a cosine to a tenth over the last fifth of the steps."""
    l1_weight: float = 1.0
    """Of the mean absolute difference."""
    perceptual_weight: float = 0.05
    """Of the VGG features when there is a weights file, relative to ``l1_weight`` 1."""
    gradient_weight: float = 0.5
    """Of the multi-scale gradient difference when there is no weights file."""
    ssim_weight: float = 0.05
    """Of 1 - SSIM when there is no weights file."""
    vgg_weights: str = ""
    """Path of VGG16 weights (a torch state dictionary); empty = gradients and SSIM stand in."""
    input_noise: float = 0.1
    """Standard deviation of the noise on the inputs, in units of each input's own deviation over the clip."""
    orientation_dropout: float = 0.15
    """Share of the frames that are shown with the constant orientation, so that the texture can be used without the camera."""
    mixing: float = 0.3
    """Share of the frames that are shown with an eye or the mouth of another frame, so that parts of the face do not hang on each other."""
    weight_decay: float = 1e-4
    """Of the network's weights, per step relative to the learning rate."""
    num_components: int = 16
    """Eigen textures that the network is distilled to, over all parts of the face."""

    def __post_init__(self) -> None:
        _check("dynamic_texture.num_steps", self.num_steps >= 1, self.num_steps, "1 or more")
        _check("dynamic_texture.batch_size", 1 <= self.batch_size <= 64, self.batch_size, "1 to 64")
        _check("dynamic_texture.canvas_px", self.canvas_px in (256, 512), self.canvas_px, "256, 512")
        _check("dynamic_texture.decoder", self.decoder in ("shuffle", "transposed"), self.decoder, "shuffle, transposed")
        _check("dynamic_texture.render_px", 64 <= self.render_px <= 1024, self.render_px, "64 to 1024")
        _check("dynamic_texture.max_frames", self.max_frames >= 20, self.max_frames, "20 or more")
        _check("dynamic_texture.learning_rate", 0 < self.learning_rate <= 0.1, self.learning_rate, "more than 0, at most 0.1")
        for name in ("l1_weight", "perceptual_weight", "gradient_weight", "ssim_weight", "input_noise", "weight_decay"):
            _check(f"dynamic_texture.{name}", getattr(self, name) >= 0, getattr(self, name), "0 or more")
        _check("dynamic_texture.num_components", 1 <= self.num_components <= 64, self.num_components, "1 to 64")
        for name in ("orientation_dropout", "mixing"):
            _check(f"dynamic_texture.{name}", 0 <= getattr(self, name) <= 1, getattr(self, name), "0 to 1")


@dataclasses.dataclass(frozen=True)
class PackageConfig:
    """What the avatar folder holds besides the avatar."""

    background_height_px: int = 1080
    """Longest side of the background clip for the scene's camera, px; never enlarged."""

    def __post_init__(self) -> None:
        _check("package.background_height_px", self.background_height_px >= 64, self.background_height_px, "64 or more")


@dataclasses.dataclass(frozen=True)
class ReconstructConfig:
    """A whole reconstruction."""

    rig: str = "anny"
    """anny, flame:FILE or ict:PATH."""
    preset: str = "standard"
    """draft, standard or high."""
    device: str = "auto"
    """auto, cpu or cuda."""
    seed: int = 0
    """Seed of everything random."""
    capture: CaptureConfig = CaptureConfig()
    track: TrackConfig = TrackConfig()
    texture: TextureConfig = TextureConfig()
    dynamic_texture: DynamicTextureConfig = DynamicTextureConfig()
    package: PackageConfig = PackageConfig()

    def __post_init__(self) -> None:
        kind, _, path = self.rig.partition(":")
        _check("rig", self.rig == "anny" or (kind in ("flame", "ict") and bool(path)), self.rig, "anny, flame:FILE, ict:PATH")
        _check("preset", self.preset in PRESETS, self.preset, ", ".join(PRESETS))
        _check("device", self.device in DEVICES, self.device, ", ".join(DEVICES))


def preset_config(preset: str, **changes: Any) -> ReconstructConfig:
    """The settings of a preset; ``changes`` replace top-level fields."""
    _check("preset", preset in PRESETS, preset, ", ".join(PRESETS))
    stages = {
        "draft": {"track": TrackConfig(num_key_frames=24, use_photometric=False), "texture": TextureConfig(size_px=512, num_frames=40), "dynamic_texture": DynamicTextureConfig(enabled=False), "package": PackageConfig(background_height_px=720)},
        "standard": {},
        "high": {"track": TrackConfig(num_key_frames=96, face_px=384, num_points=5000, num_photometric_keys=48), "texture": TextureConfig(size_px=2048, num_frames=240), "dynamic_texture": DynamicTextureConfig(num_steps=4000, canvas_px=512, render_px=512), "package": PackageConfig(background_height_px=1920)},
    }[preset]
    return ReconstructConfig(**{"preset": preset, **stages, **changes})


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as JSON types."""
    return dataclasses.asdict(config)


def from_dict(cls: type, values: dict[str, Any], where: str = "") -> Any:
    """The inverse of ``to_dict``; unknown keys and wrong types are errors (``bad_request``)."""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in values:
        _check(f"{where}{key}", key in fields, values[key], f"one of the settings {', '.join(fields)}")
    arguments: dict[str, Any] = {}
    defaults = cls()
    for key, value in values.items():
        default = getattr(defaults, key)
        if dataclasses.is_dataclass(default):
            _check(f"{where}{key}", isinstance(value, dict), value, "an object")
            arguments[key] = from_dict(type(default), value, f"{where}{key}.")
        else:
            if isinstance(default, tuple) and isinstance(value, list):
                value = tuple(value)  # JSON has no tuples
            wanted = (int, float) if isinstance(default, float) and not isinstance(default, bool) else type(default)
            is_good = isinstance(value, wanted) and (isinstance(default, bool) or not isinstance(value, bool))
            _check(f"{where}{key}", is_good, value, f"a {type(default).__name__}")
            arguments[key] = type(default)(value)
    return cls(**arguments)
