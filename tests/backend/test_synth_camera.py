"""How a synthetic clip frames the face."""

from __future__ import annotations

import numpy as np
import pytest

from backend.errors import AvatarError
from backend.geometry.cameras import project
from backend.synth.config import SynthConfig
from backend.synth.scene import draw_camera


def face_height_px(size_hw, **settings):
    """Pixels between two points 0.125 m apart, one above the other, through the middle of the face."""
    centre = np.array([0.03, 0.1, 0.04])
    px_from_cam, world_from_cam = draw_camera(SynthConfig(size_hw=size_hw, **settings), centre, 0, np.random.default_rng(2))
    ends = centre + np.array([[0, 0.0625, 0], [0, -0.0625, 0]])
    return float(np.ptp(project(px_from_cam, (ends - world_from_cam[:3, 3]) @ world_from_cam[:3, :3])[:, 1]))


def test_face_share_sets_the_height_of_the_face():
    for share in (0.2, 0.45):
        assert face_height_px((640, 360), face_share=share) == pytest.approx(share * 640, rel=1e-6)
        assert face_height_px((360, 640), face_share=share) == pytest.approx(share * 360, rel=1e-6)
    assert face_height_px((640, 360)) == pytest.approx(0.36 * 360, rel=1e-6)
    # A given focal length moves the camera, not the size of the face.
    assert face_height_px((640, 360), face_share=0.3, focal_px=900.0) == pytest.approx(0.3 * 640, rel=1e-6)


def test_face_share_out_of_range_is_refused():
    with pytest.raises(AvatarError, match="face_share"):
        SynthConfig(face_share=1.5)
