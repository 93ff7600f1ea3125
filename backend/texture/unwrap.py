"""The texture stage: choose frames, look every texel up, complete what the clip did not show.

Source: spec dynamic_texture.md 9.1 and 13.6 (weights, visibility, two passes).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from ..capture.colour import srgb_encode
from ..capture.model import Capture
from ..config import TextureConfig
from ..reporter import Reporter
from ..rig.model import PARTS, RigModel
from ..rig.posing import posable_head
from ..track.model import Track
from .blending_mask import blending_mask
from .eyes import complete_eyes
from .fill import FULL_WEIGHT, MIN_WEIGHT, complete_surface, fill_gaps, surface_fill, trust
from .frames import choose_frames
from .model import StaticTexture
from .mouth import complete_mouth, luminance
from .observe import Observed, observe
from .outpaint import outpaint
from .residual import residual_of_texels
from .texels import Texels, find_texels, part_of_quad
from .tint import light_tint
from .unexplained import unexplained_of_texels

CLIPPED_WARNING_PERCENT = 3.0
"""Share of overexposed skin samples from which the user is told."""
_BRIGHT_RATIO, _BRIGHT_SLOPE = 1.35, 0.35
"""Skin brighter than this times the upper quartile is compressed, with this slope on the logarithm."""
DEFAULT_SKIN = np.array([0.42, 0.26, 0.19])
DEFAULT_HAIR = np.array([0.035, 0.024, 0.018])


def unwrap_texture(capture: Capture, track: Track, rig: RigModel, config: TextureConfig, reporter: Reporter | None = None) -> StaticTexture:
    """Makes the static texture of a tracked clip.

    Args:
        capture: the clip; only its training frames are ever decoded.
        track: raw poses for the same samples.
        rig: the head model that was tracked.
        config: size and number of frames.
        reporter: hears "texture", frames done of frames to do.

    Returns:
        The texture. Equal inputs give equal bytes.

    Raises:
        AvatarError: bad_input when no training frame was tracked or the clip cannot be read.
    """
    reporter = reporter or Reporter()
    texels = find_texels(rig, config.size_px)
    samples = choose_frames(capture, track, config.num_frames)
    observed = observe(capture, track, rig, texels, samples, reporter)
    reporter.check()
    neutral = posable_head(rig, torch.from_numpy(np.asarray(track.identity, np.float32)), float(track.scale)).neutral.numpy().astype(np.float64)
    filmed, _ = complete(rig, texels, observed, neutral, use_outpainting=False)
    light = dataclasses.replace(observed.delit.light, tint=light_tint(rig, texels, observed))
    colour, seen = complete(rig, texels, _without_light(texels, observed, light.tint), neutral)
    linear = fill_gaps(texels, colour.astype(np.float32))
    unexplained = unexplained_of_texels(capture, track, rig, texels, linear, light, samples, reporter)
    mask = blending_mask(rig, texels, residual_of_texels(texels, observed.samples, light), unexplained)
    is_skin = texels.of("skin") & ~texels.is_inside
    info = {
        "delit": observed.delit.is_estimated, "size_px": config.size_px, "num_frames": int(len(samples)),
        "time_index": [int(track.time_index[s]) for s in samples],
        "seen_skin_percent": round(100 * float((observed.weight[is_skin] >= MIN_WEIGHT).mean()), 2) if is_skin.any() else None,
        "clipped_skin_percent": round(observed.clipped_percent, 2), "mask_skin_percent": round(100 * mask.skin_share, 2), "warnings": warnings_of(observed),
    }
    for line in info["warnings"]:
        reporter.log(line)
    unwrapped = _encoded(fill_gaps(texels, filmed.astype(np.float32)))
    return StaticTexture(_encoded(linear), linear, np.round(texels.image(seen) * 255).astype(np.uint8), unwrapped, mask.image, light, info)


def warnings_of(observed: Observed) -> list[str]:
    """Sentences for the user about what the clip did not allow."""
    found = []
    if observed.clipped_percent > CLIPPED_WARNING_PERCENT:
        found.append(
            f"{observed.clipped_percent:.1f} % of the skin is overexposed; its colour there was completed from the rest. Film with less light or lock a lower exposure."
        )
    if not observed.delit.is_estimated:
        found.append("Too little of the skin was seen to tell the light from its colour, so the light stays in the texture.")
    return found


def _without_light(texels: Texels, observed: Observed, tint: np.ndarray) -> Observed:
    """The same observations under white light of the same strength everywhere."""
    untinted = lambda colours: (colours / tint).astype(np.float32)  # noqa: E731
    skin = texels.of("skin", "scalp") & ~texels.is_inside
    return dataclasses.replace(
        observed, colour=_kneed(untinted(observed.albedo), observed.albedo_weight, skin), weight=observed.albedo_weight,
        mouth_colours=untinted(observed.mouth_colours), eye_colours=untinted(observed.eye_colours), hair_colours=untinted(observed.hair_colours),
    )


def _kneed(albedo: np.ndarray, weight: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Skin that came out much brighter than the bright skin of the same head lay in light that nine coefficients do not hold (thrown back from the
    chest under the chin) or shone; its excess is compressed."""
    light = luminance(albedo.astype(np.float64))
    good = skin & (weight > FULL_WEIGHT)
    if good.sum() < 50:
        return albedo
    knee = _BRIGHT_RATIO * float(np.percentile(light[good], 75))
    factor = np.where(skin & (light > knee), (np.maximum(light, 1e-9) / knee) ** (_BRIGHT_SLOPE - 1), 1.0)
    return (albedo * factor[:, None]).astype(np.float32)


def _encoded(linear: np.ndarray) -> np.ndarray:
    return np.floor(srgb_encode(linear) * 255 + 0.5).astype(np.uint8)


def complete(rig: RigModel, texels: Texels, observed: Observed, neutral_m: np.ndarray, use_outpainting: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """From observations to a colour for every texel.

    Args:
        observed: its ``colour`` and ``weight`` are what is completed. use_outpainting: unseen skin and hair get detail; else they are smooth.

    Returns:
        (n, 3) float64 linear and (n,) float32 trust: 1 where the clip's own colour is used, 0 where it was completed.
    """
    triangles, _, owner = rig.triangles_of_quads()
    part_of_triangle = part_of_quad(rig)[owner]
    colour = observed.colour.astype(np.float64)
    seen = np.zeros(len(texels), np.float32)
    kinds = {"surface": texels.of("skin", "scalp"), "eyes": texels.of("eye_left", "eye_right"), "mouth": texels.of("teeth_upper", "teeth_lower", "tongue")}
    for chosen in kinds.values():
        seen[chosen] = _trust_of(texels, chosen, observed.weight)
    skin = _typical(colour, seen, texels.of("skin") & ~texels.is_inside, DEFAULT_SKIN)
    hair = np.median(observed.hair_colours, axis=0) if len(observed.hair_colours) >= 200 else DEFAULT_HAIR
    grows_hair = hair_share(rig, part_of_triangle)
    surface = np.isin(part_of_triangle, [PARTS.index("skin"), PARTS.index("scalp")])
    default = skin + grows_hair[:, None] * (hair - skin)
    shown = kinds["surface"]
    fill = surface_fill(texels, shown, colour, seen, default, neutral_m, triangles, surface, rig.mirror_vertices, rigidity(rig, texels))
    colour = outpaint(rig, texels, shown, colour, fill, grows_hair, (skin, hair), neutral_m) if use_outpainting else complete_surface(colour, shown, fill)
    colour = complete_eyes(rig, texels, colour, seen)
    colour = complete_mouth(rig, texels, colour, seen, observed.mouth_colours, skin)
    colour[texels.of("lashes")] = 0.35 * np.minimum(hair, 0.2 * luminance(skin))
    colour[texels.of("cornea_left", "cornea_right")] = 0.8
    seen[texels.is_inside] = 0
    return np.clip(colour, 0, 1), seen


def hair_share(rig: RigModel, part_of_triangle: np.ndarray) -> np.ndarray:
    """(V,) in [0, 1]: where hair grows on most heads: the scalp, and the skin behind the ears down to the height of the mouth.

    Only for places the clip never showed. Heights and depths are read from the eyes and the head's own extent.
    """
    share = np.zeros(rig.num_vertices)
    vertices = rig.template.astype(np.float64)
    triangles = rig.triangles
    eyes = [rig.regions[name] for name in ("eye_left", "eye_right") if name in rig.regions and rig.regions[name].any()]
    is_surface = np.zeros(rig.num_vertices, bool)
    is_surface[triangles[np.isin(part_of_triangle, [PARTS.index("skin"), PARTS.index("scalp")])]] = True
    if eyes:
        eye = vertices[np.any(eyes, axis=0)].mean(0)
        head = vertices[is_surface & (vertices[:, 1] > eye[1] - 0.06)]
        middle_z = 0.5 * (head[:, 2].min() + eye[2])
        behind = np.clip((middle_z - vertices[:, 2]) / 0.02 + 0.5, 0, 1)
        # The hairline rises from the nape to the forehead.
        low = eye[1] - 0.05
        above = np.clip((vertices[:, 1] - low) / 0.02, 0, 1)
        share[is_surface] = (behind * above)[is_surface]
    share[triangles[part_of_triangle == PARTS.index("scalp")]] = 1
    return share


def rigidity(rig: RigModel, texels: Texels) -> np.ndarray:
    """(n,) in [0, 1]: 1 on the head, less towards the neck, which tracking turns with the head although it does not: its detail is smeared."""
    on_head = [index for index, name in enumerate(rig.joint_names) if name not in ("root", "neck")]
    if not on_head:
        return np.ones(len(texels))
    vertex = rig.skin_weights[:, on_head].sum(1).astype(np.float64)
    value = (vertex[rig.triangles[texels.triangle]] * texels.barycentric).sum(1)
    return np.clip((value - 0.5) / 0.45, 0.15, 1.0)


def _trust_of(texels: Texels, chosen: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Trust for one kind of texel; other kinds next to it in the image neither help nor hinder."""
    return trust(texels, np.where(chosen, weight, np.inf))[chosen]


def _typical(colour: np.ndarray, seen: np.ndarray, chosen: np.ndarray, default: np.ndarray) -> np.ndarray:
    """(3,) median of the well-seen colours of a kind; the default when there are too few."""
    good = chosen & (seen > 0.5)
    return np.median(colour[good], axis=0) if good.sum() >= 50 else default
