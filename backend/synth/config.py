"""Settings of a synthetic capture. Standard library only."""

from __future__ import annotations

import dataclasses

from ..errors import AvatarError

RENDERERS = ("fast", "cycles")
PERFORMANCES = ("talk", "chair")


@dataclasses.dataclass(frozen=True)
class SynthConfig:
    """A data set of synthetic clips: the same settings always give the same pixels."""

    seconds: float = 5.0
    """Length of each clip, s."""
    fps: float = 25.0
    """Frame rate, 1/s."""
    size_hw: tuple[int, int] = (512, 512)
    """Height and width of the frame, px; even."""
    seed: int = 1
    """Another seed is another person, performance, camera and light."""
    renderer: str = "fast"
    """fast: the project's own rasteriser, for tests. cycles: hair, soft shadows, gloss, subsurface, motion blur; for tables."""
    performance: str = "talk"
    """talk: speech, moods, turns of 25 degrees. chair: the person sits on a turning chair, quiet, and turns once to 75 degrees on either side."""
    samples: int = 12
    """Rays per pixel of the cycles renderer; below 64 the picture is denoised."""
    supersample: int = 2
    """Rays per pixel side of the fast renderer."""
    texture_px: int = 1024
    """Side of the painted texture, px."""
    num_identities: int = 1
    """Persons in the data set, each with its own texture and performance."""
    num_cameras: int = 1
    """Cameras that see each performance, spread around the face."""
    identity_sigma: float = 0.6
    """Spread of the random identity, in standard deviations of the rig's modes."""
    expressiveness: float = 1.0
    """Multiplies every expression but the blinks; 0 = only blinks and gaze."""
    head_motion: float = 1.0
    """Multiplies the head's turns and shifts; 1 reaches 25 degrees of yaw both ways, on the chair 75."""
    focal_px: float = 0.0
    """Focal length, px; 0 = random, as phones have it."""
    face_share: float = 0.0
    """Height of the face (brow to chin) over the height of the frame; 0 = 0.36 of the shorter side, as a talking head is framed."""
    use_dynamic_texture: bool = False
    """Wrinkles, blush and lids that change with the expression (``expression_layers``); their truth lies in ``expression_texture.npz``."""
    light_seed: int = 0
    """Another number is another light on the same person and performance; 0 = the light that belongs to ``seed``."""
    use_hair: bool = True
    """Hair on the head."""
    use_body: bool = True
    """A shirt below the neck."""
    crf: int = 18
    """H.264 quality; lower is better, 0 is lossless."""
    timeout_s: float = 3600.0
    """Longest time the Blender child may take, s."""

    def __post_init__(self) -> None:
        rules = (
            ("seconds", 0 < self.seconds <= 600, "more than 0, at most 600"),
            ("fps", 1 <= self.fps <= 240, "1 to 240"),
            ("size_hw", len(self.size_hw) == 2 and all(32 <= side <= 4096 and side % 2 == 0 for side in self.size_hw), "two even numbers, 32 to 4096"),
            ("seed", 0 <= self.seed < 2**31, "0 to 2147483647"),
            ("renderer", self.renderer in RENDERERS, ", ".join(RENDERERS)),
            ("performance", self.performance in PERFORMANCES, ", ".join(PERFORMANCES)),
            ("samples", 1 <= self.samples <= 4096, "1 to 4096"),
            ("supersample", 1 <= self.supersample <= 8, "1 to 8"),
            ("texture_px", self.texture_px in (256, 512, 1024, 2048, 4096), "256, 512, 1024, 2048, 4096"),
            ("num_identities", 1 <= self.num_identities <= 10000, "1 to 10000"),
            ("num_cameras", 1 <= self.num_cameras <= 64, "1 to 64"),
            ("identity_sigma", 0 <= self.identity_sigma <= 2, "0 to 2"),
            ("expressiveness", 0 <= self.expressiveness <= 1.5, "0 to 1.5"),
            ("head_motion", 0 <= self.head_motion <= 2, "0 to 2"),
            ("focal_px", self.focal_px >= 0, "0 or more"),
            ("face_share", self.face_share == 0 or 0.05 <= self.face_share <= 0.9, "0 (as a talking head is framed), or 0.05 to 0.9"),
            ("light_seed", 0 <= self.light_seed < 2**31, "0 to 2147483647"),
            ("crf", 0 <= self.crf <= 51, "0 to 51"),
            ("timeout_s", self.timeout_s > 0, "more than 0"),
        )
        for field, is_good, allowed in rules:
            if not is_good:
                value = getattr(self, field)
                raise AvatarError("bad_request", f"synth.{field} is {value!r}.", f"Allowed: {allowed}.", {"field": f"synth.{field}", "value": value, "allowed": allowed})

    @property
    def num_frames(self) -> int:
        return max(1, round(self.seconds * self.fps))
