"""Capture to track: one identity, one camera, every frame's pose, expression and gaze; by landmarks, then by the pixels."""

from __future__ import annotations

import numpy as np

from ..capture.model import TRAIN, Capture
from ..config import TrackConfig
from ..errors import AvatarError
from ..reporter import Reporter
from ..rig.model import RigModel
from .clip_fit import ClipFit, chains_of, frame_trust
from .frame_faults import believed
from .landmark_model import landmark_model
from .lids import lid_openness
from .model import Track
from .pixels import PixelResult, pixel_fit
from .refine import landmark_trust
from .result import assemble_track
from .state import unknowns_of

MIN_FRAMES = 3


def track_clip(capture: Capture, rig: RigModel, config: TrackConfig, reporter: Reporter) -> Track:
    """Fits the rig to a clip's landmarks, then to its pixels.

    Identity, focal length, albedo and light are estimated from key frames of the training part and then frozen. Training, gap and
    test frames are separate chains: neither the temporal terms nor smoothing cross between them.

    Raises:
        AvatarError: ``bad_input`` with fewer than three usable training frames; ``diverged`` when the fit fails.
    """
    capture = believed(capture)
    model = landmark_model(rig)
    unknowns = unknowns_of(model)
    trust = frame_trust(capture)
    is_usable = (trust > 0) & (capture.split == TRAIN)
    usable = np.flatnonzero(is_usable)
    if len(usable) < MIN_FRAMES:
        raise AvatarError("bad_input", f"Only {len(usable)} frames show a usable face.", "Film at least a second of a well-lit, unobstructed face.")
    openness = lid_openness(capture.landmarks_px, is_usable)
    fit = ClipFit(capture, model, unknowns, trust, openness, config)

    keys = fit.choose_key_frames(usable, config.num_key_frames)
    shared, key_states, focal_sigma, focal_source = fit.solve_person(keys, reporter)
    shared, key_states = fit.set_neutral(shared, usable, keys, key_states, reporter)
    states = fit.solve_clip(shared, keys, key_states, reporter)
    pixels: PixelResult | None = None
    if config.use_photometric:
        left = float(np.nanmean(fit.residual_percent(shared, states)[usable]))
        pixels = pixel_fit(fit, rig, config, landmark_trust(left)).refined(shared, states, usable, reporter)
        shared, states = fit.rested(pixels.shared, pixels.states, usable)
    if not np.isfinite(states.controls).all() or not np.isfinite(states.translation_m).all():
        raise AvatarError("diverged", "Tracking diverged.", "Check the clip: is the whole face visible, large and sharp?", {"stage": "track"})

    residual = fit.residual_percent(shared, states)
    return assemble_track(capture, rig, model, unknowns, shared, states, residual, trust, focal_sigma, focal_source, config, chains_of(capture), pixels)
