"""Makes the landmark embeddings of a rig model: once per model, never per clip, nothing shipped.

The template is rendered from several sides and with a few mild expressions, MediaPipe marks its points on the pictures,
and each point is carried back to the surface. What counts most, lids and lips, is bound to the model's own rims: a point
of an upper lid lies on the upper lid's rim, wherever along it the views agree.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from ..errors import AvatarError
from ..rig.landmark_names import (
    EYE_CORNERS,
    FACE_OVAL,
    IBUG68_FROM_MEDIAPIPE,
    IRIS_LEFT,
    IRIS_RIGHT,
    NUM_POINTS,
    OUTER_EYES,
    RIMS,
    mirrored_points,
)
from ..rig.load import cached_rig, code_sha256, default_cache_folder, load_rig, parse_rig_spec, rig_key
from ..rig.model import LandmarkEmbedding, RigModel
from .embed_surface import RimLine, SurfaceIndex, agree, monotone
from .template_views import IRIS_RADIUS_M, Picture, TemplateStudio, View

NEUTRAL_VIEWS = tuple(View(yaw, pitch) for pitch in (0, -10, 10) for yaw in (0, -15, 15, -30, 30))
MOUTH_VIEWS = tuple(View(yaw, 0, (("jawOpen", value),)) for value in (0.15, 0.3) for yaw in (0, -15, 15))
LID_VIEWS = tuple(
    View(yaw, 0, ((f"{name}Left", value), (f"{name}Right", value))) for name, value in (("eyeWide", 0.5), ("eyeBlink", 0.25)) for yaw in (0, -15, 15)
)
TRUST_DEG = 12.0
"""Turn of the head at which a view counts half."""
MIN_PLACED = 440


def detect_landmarks(pictures: list[Picture]) -> list[np.ndarray | None]:
    """(478, 2) px per picture, None where no face was found.

    Each picture is also shown mirrored and both answers are averaged: the detector has a left-right bias of its own.
    """
    from .landmarks import FaceDetector

    mirror = mirrored_points()
    found: list[np.ndarray | None] = []
    with FaceDetector(max_faces=1) as detector:
        for picture in pictures:
            faces, flipped = detector.detect(picture.rgb), detector.detect(np.ascontiguousarray(picture.rgb[:, ::-1]))
            if not faces or not flipped:
                found.append(None)
                continue
            back = flipped[0].landmarks_px[mirror] * [-1, 1] + [picture.rgb.shape[1], 0]
            found.append((faces[0].landmarks_px + back) / 2)
    return found


def embed_landmarks(rig: RigModel) -> RigModel:
    """``rig`` with ``mediapipe478`` and ``ibug68``.

    Raises:
        AvatarError: ``environment`` when the detector finds no face on the rendered template.
    """
    studio = TemplateStudio(rig)
    # First without brows, to learn where they belong on this face; then with brows painted there.
    first = _collect(studio, NEUTRAL_VIEWS[:3])
    studio.brow_outlines = _brow_outlines(rig, _surface_points(studio, *first)[0])
    pictures, landmarks = _collect(studio, NEUTRAL_VIEWS + MOUTH_VIEWS + LID_VIEWS)
    points, spread = _surface_points(studio, pictures, landmarks)
    rim_points, rim_spread = _rim_points(studio, pictures, landmarks)
    for point, position in rim_points.items():
        points[point], spread[point] = position, rim_spread[point]
    index = SurfaceIndex(rig)
    allowed = _allowed_triangles(studio, index, rim_points)
    triangle_ids, barycentric = _placed(index, points, allowed)
    triangle_ids, barycentric = _placed(index, _symmetrised(rig, points, triangle_ids, barycentric), allowed)
    for side, iris in (("left", IRIS_LEFT), ("right", IRIS_RIGHT)):
        wanted = _iris_points(studio.eye_centres[side])
        chosen = studio.part_names == f"eye_{side}"
        triangle_ids[list(iris)], barycentric[list(iris)] = index.closest(wanted, chosen)
    if (triangle_ids >= 0).sum() < MIN_PLACED:
        raise AvatarError(
            "environment", f"Only {(triangle_ids >= 0).sum()} of {NUM_POINTS} landmarks found their place on the head model {rig.name}.",
            "Check the model file and the installed face detector.", {"placed": int((triangle_ids >= 0).sum())},
        )
    mediapipe = LandmarkEmbedding(triangle_ids, barycentric, spread.astype(np.float32))
    chosen68 = np.array(IBUG68_FROM_MEDIAPIPE)
    ibug = LandmarkEmbedding(triangle_ids[chosen68], barycentric[chosen68], mediapipe.spread_m[chosen68])
    return rig.replace(mediapipe478=mediapipe, ibug68=ibug)


def load_rig_with_landmarks(spec: str, cache_folder: Path | None = None) -> RigModel:
    """``rig.load.load_rig`` plus embeddings, kept in the cache under a key of model data, code and detector version."""
    import importlib.metadata

    kind, location = parse_rig_spec(spec)
    folder = default_cache_folder() if cache_folder is None else Path(cache_folder)
    here = Path(__file__).parent
    code = code_sha256(here / "embed.py", here / "embed_surface.py", here / "template_views.py", here / "landmarks.py")
    key = hashlib.sha256(f"{rig_key(kind, location)} {code} {importlib.metadata.version('mediapipe')}".encode()).hexdigest()[:16]
    return cached_rig(folder / f"rig-{kind}-landmarks-{key}.npz", lambda: embed_landmarks(load_rig(spec, folder)))


def _collect(studio: TemplateStudio, views: tuple[View, ...]) -> tuple[list[Picture], list[np.ndarray]]:
    """Pictures on which a face was found, and its landmarks."""
    pictures = [studio.picture(view) for view in views]
    landmarks = detect_landmarks(pictures)
    found = [(picture, points) for picture, points in zip(pictures, landmarks) if points is not None]
    if not any(picture.view == View() for picture, _ in found):
        raise AvatarError(
            "environment", f"The face detector finds no face on the rendered head model {studio.rig.name}.",
            "Check that the model file is a complete head and that mediapipe 0.10.21 is installed.",
        )
    return [picture for picture, _ in found], [points for _, points in found]


def _surface_points(studio: TemplateStudio, pictures: list[Picture], landmarks: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Where each of the 478 points lies on the template (478, 3) m, NaN when no view saw it, and the views' spread (478,) m."""
    positions = np.full((len(pictures), NUM_POINTS, 3), np.nan)
    weights = np.zeros((len(pictures), NUM_POINTS))
    for number, (picture, points) in enumerate(zip(pictures, landmarks)):
        if picture.view.is_neutral:
            positions[number], weights[number] = _cast(studio, picture, points)
            weights[number] *= _trust(picture.view)
        # The outline is where the head ends in the picture: only the frontal view shows the points themselves.
        if picture.view != View():
            weights[number, list(FACE_OVAL)] = 0
    return agree(positions, weights)


def _trust(view: View) -> float:
    """How far a view is believed: the detector learned from mostly frontal photographs and guesses more the further a head is turned."""
    return 1 / (1 + (view.yaw_deg**2 + view.pitch_deg**2) / TRUST_DEG**2)


def _cast(studio: TemplateStudio, picture: Picture, points_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Template positions (478, 3) of the surface under each point and weights (478,): 0 where there is no skin within 2 % of the face."""
    from scipy.ndimage import distance_transform_edt

    ids = picture.triangle_ids
    is_good = (ids >= 0) & studio.outside[ids] & (picture.facing[ids] > 0.05)
    distance, (rows, columns) = distance_transform_edt(~is_good, return_indices=True)
    sample = np.floor(points_px * picture.samples_per_px).astype(int)
    column, row = np.clip(sample.T, 0, np.array(ids.shape)[::-1, None] - 1)
    snapped = rows[row, column], columns[row, column]
    triangle = ids[snapped]
    rest = studio.rig.template[studio.triangles[triangle]]
    position = np.einsum("nc,ncx->nx", picture.barycentric[snapped], rest)
    face_px = np.linalg.norm(points_px[OUTER_EYES[0]] - points_px[OUTER_EYES[1]]) * picture.samples_per_px
    off = distance[row, column] / face_px
    weight = np.clip(picture.facing[triangle], 0, 1) ** 2 * (1 - off / 0.1)
    return position, np.where(off < 0.1, np.maximum(weight, 1e-3), 0)


def _rim_points(studio: TemplateStudio, pictures: list[Picture], landmarks: list[np.ndarray]) -> tuple[dict[int, np.ndarray], dict[int, float]]:
    """Template position and spread of every point that belongs on a rim."""
    rig = studio.rig
    found: dict[int, list[np.ndarray]] = {}
    spread: dict[int, float] = {}
    for region, members in RIMS.items():
        line = RimLine(rig, region)
        along, weights = np.zeros((len(pictures), len(members))), np.zeros((len(pictures), len(members)))
        for number, (picture, points) in enumerate(zip(pictures, landmarks)):
            if (picture.view in MOUTH_VIEWS and "lip" not in region) or (picture.view in LID_VIEWS and "lid" not in region):
                continue
            along[number] = line.along(picture.vertices_px, points[list(members)])
            weights[number] = _trust(picture.view)
        middle, deviation = agree(along[..., None], weights)
        settled = monotone(middle[:, 0])
        for member, position, length in zip(members, line.positions(settled), deviation * line.length_m):
            if member in EYE_CORNERS:
                continue  # where the lids meet nothing separates, and the visible corner may lie beyond the rim's end
            found.setdefault(member, []).append(position)
            spread[member] = max(float(length), spread.get(member, 0.0))
    return {point: np.mean(positions, axis=0) for point, positions in found.items()}, spread


def _iris_points(centre: np.ndarray) -> np.ndarray:
    """(5, 3) m: front pole of the eyeball's axis (+Z) and the iris border at image right, top, left, bottom, just before the surface."""
    ring = np.array([[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1]]) * IRIS_RADIUS_M
    return centre + np.concatenate([ring, np.full((5, 1), np.nan)], 1)


def _brow_outlines(rig: RigModel, points: np.ndarray) -> tuple[np.ndarray, ...]:
    from ..rig.landmark_names import BROW_LEFT, BROW_RIGHT

    return tuple(points[list(group)] for group in (BROW_RIGHT, BROW_LEFT) if np.isfinite(points[list(group)]).all())


def _allowed_triangles(studio: TemplateStudio, index: SurfaceIndex, rim_points: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """For each of the 468 face points the (F,) triangles it may lie on: those beside its rims, else the outside of the skin."""
    beside = {region: index.beside_rim(RimLine(studio.rig, region)) for region in RIMS}
    allowed = {point: studio.outside for point in range(468)}
    for point in rim_points:
        allowed[point] = np.any([beside[region] for region, members in RIMS.items() if point in members], axis=0)
    return allowed


def _placed(index: SurfaceIndex, points: np.ndarray, allowed: dict[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Triangle (478,) and weights (478, 3) of the allowed surface nearest to each known point; -1 and 0 for the others."""
    triangle_ids, barycentric = np.full(NUM_POINTS, -1, np.int32), np.zeros((NUM_POINTS, 3), np.float32)
    together: dict[int, list[int]] = {}
    for point, chosen in allowed.items():
        if np.isfinite(points[point]).all():
            together.setdefault(id(chosen), []).append(point)
    for members in together.values():
        triangle_ids[members], barycentric[members] = index.closest(points[members], allowed[members[0]])
    return triangle_ids, barycentric


def _symmetrised(rig: RigModel, points: np.ndarray, triangle_ids: np.ndarray, barycentric: np.ndarray) -> np.ndarray:
    """Averages every point with the place that mirrors its partner's, by the rig's own symmetry (the template may be lopsided)."""
    partner = mirrored_points()
    corners = rig.triangles[triangle_ids[partner]]
    across = rig.mirror_vertices[corners]
    reflected = np.einsum("nc,ncx->nx", barycentric[partner].astype(np.float64), rig.template[across].astype(np.float64))
    known = (triangle_ids[partner] >= 0) & (triangle_ids >= 0) & (across >= 0).all(1)
    return np.where(known[:, None], (points + reflected) / 2, points)
