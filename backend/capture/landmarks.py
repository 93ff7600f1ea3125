"""Faces and their 478 landmarks, each picture on its own: no memory of earlier frames, hence no lag.

MediaPipe's ready-made solution chooses the region the landmark network sees from the previous frame, or from a coarse detection. Here the
network gets a square patch that we cut (turned so that the eyes are level, low-passed before shrinking), and the patch is cut again
around the landmarks it gave until it fits. The networks are those inside the ``mediapipe`` wheel (Apache-2.0).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from ..rig.landmark_names import mirrored_points

PATCH_PX = 192
"""Side of the square picture the landmark network takes, px."""
NUM_LANDMARKS = 478
NUM_MESH_LANDMARKS = 468
EYE_OUTER_RIGHT, EYE_OUTER_LEFT = 33, 263
"""Outer eye corners of the subject; on an unmirrored picture the subject's right is on the left."""
MIN_PRESENCE = 0.5
FLIPPED, SURE = 0.2, 0.6
"""Confidence below which a face may be one upside down (there it stays below 0.1, measured), and from which it is surely the right way up."""
SPREAD_SCALE = 0.04
"""Disagreement between patches, as a share of the outer-eye distance, at which the confidence has fallen to exp(-1/2)."""

_GRAPH = """
input_stream: "image"
output_stream: "landmarks"
output_stream: "presence"
node { calculator: "ConstantSidePacketCalculator" output_side_packet: "PACKET:with_attention"
  node_options: { [type.googleapis.com/mediapipe.ConstantSidePacketCalculatorOptions] { packet { bool_value: true } } } }
node { calculator: "FaceLandmarksModelLoader" input_side_packet: "WITH_ATTENTION:with_attention" output_side_packet: "MODEL:model" }
node { calculator: "TfLiteCustomOpResolverCalculator" output_side_packet: "OP_RESOLVER:resolver"
  node_options: { [type.googleapis.com/mediapipe.TfLiteCustomOpResolverCalculatorOptions] { use_gpu: false } } }
node { calculator: "ImageToTensorCalculator" input_stream: "IMAGE:image" output_stream: "TENSORS:input"
  node_options: { [type.googleapis.com/mediapipe.ImageToTensorCalculatorOptions] {
    output_tensor_width: 192 output_tensor_height: 192 output_tensor_float_range { min: 0.0 max: 1.0 } } } }
node { calculator: "InferenceCalculator" input_stream: "TENSORS:input" input_side_packet: "MODEL:model"
  input_side_packet: "OP_RESOLVER:resolver" output_stream: "TENSORS:output"
  node_options: { [type.googleapis.com/mediapipe.InferenceCalculatorOptions] { delegate { xnnpack { num_threads: 1 } } } } }
node { calculator: "SplitTensorVectorCalculator" input_stream: "output" output_stream: "points" output_stream: "flag"
  node_options: { [type.googleapis.com/mediapipe.SplitVectorCalculatorOptions] { ranges { begin: 0 end: 6 } ranges { begin: 6 end: 7 } } } }
node { calculator: "TensorsToFloatsCalculator" input_stream: "TENSORS:flag" output_stream: "FLOAT:presence"
  node_options: { [type.googleapis.com/mediapipe.TensorsToFloatsCalculatorOptions] { activation: SIGMOID } } }
node { calculator: "TensorsToFaceLandmarksWithAttention" input_stream: "TENSORS:points" output_stream: "LANDMARKS:landmarks" }
"""


@dataclasses.dataclass(frozen=True)
class Face:
    """One face in one picture.

    landmarks_px: (478, 2) float64, pixels of the picture, pixel centres at +0.5; 468 onwards are the irises.
    depth_px: (478,) float64, relative depth in the same unit, smaller is nearer. confidence: in [0, 1].
    presence: the network's own score in [0, 1]. spread: disagreement between the patches, share of the outer-eye distance.
    """

    landmarks_px: np.ndarray
    depth_px: np.ndarray
    confidence: float
    presence: float
    spread: float

    @property
    def width_px(self) -> float:
        """Extent across the eye line of the face mesh, px."""
        return float(np.ptp(self.landmarks_px[:NUM_MESH_LANDMARKS] @ _turn(eye_line_rad(self.landmarks_px)).T, axis=0)[0])


@dataclasses.dataclass(frozen=True)
class Region:
    """A turned square: centre_px (2,), side_px, angle_rad (clockwise on the screen, of its upper edge)."""

    centre_px: np.ndarray
    side_px: float
    angle_rad: float

    def patch_from_px(self, size_px: int = PATCH_PX) -> np.ndarray:
        """(2, 3) affine map from picture pixels to patch pixels (centres at +0.5 in both)."""
        linear = _turn(self.angle_rad) * (size_px / self.side_px)
        return np.column_stack([linear, size_px / 2 - linear @ self.centre_px])


def eye_line_rad(landmarks_px: np.ndarray) -> float:
    """Direction from the subject's right to left outer eye corner, rad, clockwise on the screen."""
    along = landmarks_px[EYE_OUTER_LEFT] - landmarks_px[EYE_OUTER_RIGHT]
    return float(np.arctan2(along[1], along[0]))


def region_around(landmarks_px: np.ndarray, margin: float = 1.5) -> Region:
    """The square that the network expects: level with the eyes, ``margin`` times as large as the face mesh."""
    angle_rad = eye_line_rad(landmarks_px)
    level = landmarks_px[:NUM_MESH_LANDMARKS] @ _turn(angle_rad).T
    low, high = level.min(0), level.max(0)
    return Region(_turn(angle_rad).T @ ((low + high) / 2), margin * float((high - low).max()), angle_rad)


def cut_patch(rgb: np.ndarray, region: Region, size_px: int = PATCH_PX) -> np.ndarray:
    """(size, size, 3) uint8: the region, low-passed when it shrinks. Outside the picture the border is repeated."""
    height, width = rgb.shape[:2]
    patch_from_px = region.patch_from_px(size_px)
    reach = region.side_px * 0.75 + 4
    low = np.floor(region.centre_px - reach).astype(int)
    high = np.ceil(region.centre_px + reach).astype(int)
    x0, y0 = max(0, min(low[0], width - 2)), max(0, min(low[1], height - 2))
    x1, y1 = min(width, max(high[0], x0 + 2)), min(height, max(high[1], y0 + 2))
    part = np.ascontiguousarray(rgb[y0:y1, x0:x1])
    offset, shrink = np.array([x0, y0], dtype=np.float64), region.side_px / size_px
    linear = patch_from_px[:, :2]
    if shrink >= 2:  # halve by area first: cheaper than a wide blur
        factor = int(shrink)
        part_h, part_w = max(1, part.shape[0] // factor), max(1, part.shape[1] // factor)
        part = cv2.resize(part[: part_h * factor, : part_w * factor], (part_w, part_h), interpolation=cv2.INTER_AREA)
        linear, shrink = linear * factor, shrink / factor
    if shrink > 1.1:
        part = cv2.GaussianBlur(part, (0, 0), 0.5 * float(np.sqrt(shrink * shrink - 1)))
    shift = patch_from_px[:, 2] + patch_from_px[:, :2] @ offset
    matrix = np.column_stack([linear, shift + linear @ [0.5, 0.5] - 0.5])  # OpenCV counts from pixel centres
    return cv2.warpAffine(part, matrix, (size_px, size_px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


class FaceDetector:
    """Finds faces and their landmarks. Use as a context manager, from one thread.

    Args:
        num_patches: how many slightly different patches are averaged per face: 1, 4 or 8. More is steadier and slower (about 4 ms each).
            Half of several patches are shown to the network mirrored: it places points up to 0.9 % of the outer-eye distance to one side.
        max_faces: how many faces ``detect`` returns.
    """

    def __init__(self, num_patches: int = 4, max_faces: int = 4):
        if num_patches not in (1, 4, 8):
            raise ValueError(f"num_patches must be 1, 4 or 8, got {num_patches}")
        self._wobbles = _WOBBLES[:num_patches] if num_patches > 1 else ((0.0, 0.0, 0.0, 0.0),)
        self._max_faces = max_faces
        self._network: _LandmarkNetwork | None = None
        self._finders: list[Any] = []

    def __enter__(self) -> "FaceDetector":
        with quiet_stderr():
            import mediapipe

            self._network = _LandmarkNetwork()
            self._finders = [mediapipe.solutions.face_detection.FaceDetection(min_detection_confidence=0.4, model_selection=kind) for kind in (1, 0)]
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._network is not None:
            self._network.close()
        for finder in self._finders:
            finder.close()
        self._network, self._finders = None, []

    def detect(self, rgb: np.ndarray, is_thorough: bool = False) -> list[Face]:
        """All faces of a picture, largest first.

        Args:
            rgb: (H, W, 3) uint8, sRGB, upright.
            is_thorough: when no face is found, look again at overlapping quarters and ninths of the picture: finds faces from about 25 px up.
        """
        faces = self._faces_from_regions(rgb, self._find(rgb))
        if not faces and is_thorough:
            height, width = rgb.shape[:2]
            for share in (0.5, 0.25):
                side = max(128, round(max(height, width) * share))
                regions = []
                for y in _starts(height, side):
                    for x in _starts(width, side):
                        for region in self._find(np.ascontiguousarray(rgb[y:y + side, x:x + side])):
                            regions.append(Region(region.centre_px + [x, y], region.side_px, region.angle_rad))
                faces = self._faces_from_regions(rgb, regions)
                if faces:
                    break
        return faces

    def detect_turned(self, rgb: np.ndarray) -> list[Face]:
        """Faces that lie on their side or stand on their head, which ``detect`` misses, the most confident first. Three times the work of ``detect``."""
        found: list[Face] = []
        for quarter_turns in (1, 2, 3):
            turned = np.ascontiguousarray(np.rot90(rgb, quarter_turns))
            regions = [_turned_back(region, quarter_turns, rgb.shape) for region in self._find(turned)]
            found += [face for face in self._faces_from_regions(rgb, regions) if face.confidence > FLIPPED]
        found.sort(key=lambda face: -face.confidence)
        return [face for number, face in enumerate(found) if not any(_is_same_face(face, other) for other in found[:number])]

    def refine(self, rgb: np.ndarray, landmarks_px: np.ndarray) -> Face | None:
        """The face near ``landmarks_px`` (478, 2), usually those of the previous frame; None when there is no face."""
        return self._settle(rgb, region_around(landmarks_px))

    def turned_right(self, rgb: np.ndarray, face: Face) -> Face:
        """Resolves a doubtful face: shown upside down, the network invents an upright face, but not the same one in every patch.

        Returns:
            the face itself when it is sure or no other turn is surer; else the face found after turning by half or a quarter.
        """
        if face.confidence > FLIPPED:
            return face
        region = region_around(face.landmarks_px)
        for turn_rad in (np.pi, 0.5 * np.pi, -0.5 * np.pi):
            other = self._settle(rgb, Region(region.centre_px, region.side_px, region.angle_rad + turn_rad))
            if other is not None and other.confidence > SURE and _is_same_face(face, other):
                return other
        return face

    def _faces_from_regions(self, rgb: np.ndarray, regions: list[Region]) -> list[Face]:
        faces: list[Face] = []
        for region in regions:
            face = self._settle(rgb, region)
            face = None if face is None else self.turned_right(rgb, face)
            if face is not None and not any(_is_same_face(face, other) for other in faces):
                faces.append(face)
        return sorted(faces, key=lambda face: -face.width_px)[: self._max_faces]

    def _find(self, rgb: np.ndarray) -> list[Region]:
        """Regions in which a detector sees a face. Long range first; the short-range network adds faces that fill the picture."""
        height, width = rgb.shape[:2]
        regions = []
        for finder in self._finders:
            for detection in finder.process(rgb).detections or ():
                place = detection.location_data
                box = place.relative_bounding_box
                eyes = np.array([[point.x * width, point.y * height] for point in place.relative_keypoints[:2]])
                centre = np.array([(box.xmin + box.width / 2) * width, (box.ymin + box.height / 2) * height])
                along = eyes[1] - eyes[0]
                regions.append(Region(centre, 1.5 * max(box.width * width, box.height * height), float(np.arctan2(along[1], along[0]))))
        return regions

    def _settle(self, rgb: np.ndarray, region: Region) -> Face | None:
        """Cuts patches until the region fits the landmarks, then averages over slightly moved patches."""
        points, presence = self._look(rgb, region)
        for _ in range(3):
            if presence < MIN_PRESENCE:
                return None
            fitted = region_around(points[:, :2])
            if not np.isfinite(fitted.side_px) or fitted.side_px < 8:
                return None
            change = np.linalg.norm(fitted.centre_px - region.centre_px) / fitted.side_px + abs(np.log(fitted.side_px / region.side_px))
            region = fitted
            if change < 0.04:
                break
            points, presence = self._look(rgb, region)
        looks, presences = [], []
        for number, (shift_x, shift_y, log_size, turn_rad) in enumerate(self._wobbles):
            centre = region.centre_px + _turn(region.angle_rad).T @ [shift_x, shift_y] * region.side_px
            moved = Region(centre, region.side_px * float(np.exp(log_size)), region.angle_rad + turn_rad)
            points, presence = self._look(rgb, moved, is_mirrored=number % 4 >= 2)
            looks.append(points)
            presences.append(presence)
        presence = float(np.mean(presences))
        if presence < MIN_PRESENCE:
            return None
        stack = np.stack(looks)
        mean = stack.mean(0)
        eye_px = np.linalg.norm(mean[EYE_OUTER_LEFT, :2] - mean[EYE_OUTER_RIGHT, :2])
        spread = float(np.sqrt(((stack - mean)[..., :2] ** 2).sum(-1).mean(0)).mean() / max(eye_px, 1e-6))
        confidence = presence * float(np.exp(-0.5 * (spread / SPREAD_SCALE) ** 2))
        return Face(mean[:, :2], mean[:, 2], confidence, presence, spread)

    def _look(self, rgb: np.ndarray, region: Region, is_mirrored: bool = False) -> tuple[np.ndarray, float]:
        """(478, 3) points in picture pixels (x, y, depth) and the presence score for one patch, shown to the network mirrored or not."""
        if self._network is None:
            raise RuntimeError("use FaceDetector as a context manager")
        patch = cut_patch(rgb, region)
        points, presence = self._network(np.ascontiguousarray(patch[:, ::-1]) if is_mirrored else patch)
        if is_mirrored:
            points = points[mirrored_points()] * [-1, 1, 1] + [PATCH_PX, 0, 0]
        patch_from_px = region.patch_from_px()
        back = np.linalg.inv(patch_from_px[:, :2])
        flat = (points[:, :2] - patch_from_px[:, 2]) @ back.T
        return np.column_stack([flat, points[:, 2] * (region.side_px / PATCH_PX)]), presence


class _LandmarkNetwork:
    """The attention mesh network of the mediapipe wheel on one patch."""

    def __init__(self) -> None:
        from mediapipe.calculators.tensor import image_to_tensor_calculator_pb2, inference_calculator_pb2  # noqa: F401  (registers the options)
        from mediapipe.calculators.tflite import tflite_custom_op_resolver_calculator_pb2  # noqa: F401
        from mediapipe.python import packet_creator, packet_getter
        from mediapipe.python._framework_bindings import calculator_graph, image_frame, resource_util

        _set_resources(resource_util)
        self._create = packet_creator.create_image_frame
        self._format = image_frame.ImageFormat.SRGB
        self._graph = calculator_graph.CalculatorGraph(graph_config=_GRAPH)
        self._landmarks: Any = None
        self._presence = 0.0
        self._time = 0

        def take_landmarks(_: str, packet: Any) -> None:
            self._landmarks = packet_getter.get_proto(packet)

        def take_presence(_: str, packet: Any) -> None:
            self._presence = packet_getter.get_float(packet)

        self._graph.observe_output_stream("landmarks", take_landmarks)
        self._graph.observe_output_stream("presence", take_presence)
        self._graph.start_run()

    def __call__(self, patch: np.ndarray) -> tuple[np.ndarray, float]:
        """(478, 3) float64 points in patch pixels, and presence in [0, 1], for a (192, 192, 3) uint8 patch."""
        self._landmarks = None
        self._time += 1
        self._graph.add_packet_to_input_stream("image", self._create(image_format=self._format, data=patch).at(self._time))
        self._graph.wait_until_idle()
        if self._landmarks is None:
            return np.zeros((NUM_LANDMARKS, 3)), 0.0
        points = np.array([(point.x, point.y, point.z) for point in self._landmarks.landmark])
        return points * PATCH_PX, self._presence

    def close(self) -> None:
        self._graph.close()


@contextlib.contextmanager
def quiet_stderr() -> Any:
    """Keeps the start-up chatter of native libraries off the terminal."""
    saved = os.dup(2)
    try:
        with open(os.devnull, "w") as sink:
            os.dup2(sink.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _set_resources(resource_util: Any) -> None:
    import mediapipe

    resource_util.set_resource_dir(os.path.dirname(os.path.dirname(os.path.abspath(mediapipe.__file__))))


def _starts(length: int, side: int) -> list[int]:
    """Where tiles of ``side`` begin so that they cover ``length`` with half overlaps."""
    if length <= side:
        return [0]
    count = int(np.ceil((length - side) / (side / 2))) + 1
    return [int(start) for start in np.linspace(0, length - side, count)]


def _turned_back(region: Region, quarter_turns: int, size: tuple[int, ...]) -> Region:
    """A region of a picture turned counter-clockwise by quarter turns, in the picture before; size: (H, W, ...) of the latter."""
    height, width = size[:2]
    centre, angle_rad = region.centre_px, region.angle_rad
    for turn in range(quarter_turns):
        # undoing one quarter turn: the right edge of the picture before became the upper edge
        before_width = width if (quarter_turns - 1 - turn) % 2 == 0 else height
        centre, angle_rad = np.array([before_width - centre[1], centre[0]]), angle_rad + 0.5 * np.pi
    return Region(centre, region.side_px, angle_rad)


def _is_same_face(one: Face, other: Face) -> bool:
    distance = np.linalg.norm(one.landmarks_px.mean(0) - other.landmarks_px.mean(0))
    return bool(distance < 0.4 * max(one.width_px, other.width_px))


def _turn(angle_rad: float) -> np.ndarray:
    """(2, 2): coordinates in axes turned clockwise by the angle (y points down)."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, s], [-s, c]])


_WOBBLES = (
    # shift along and across the eye line (share of the side), log of the size, turn in rad. Third and fourth of each four are shown mirrored;
    # plain and mirrored ones each sum to zero.
    (-0.02, -0.012, 0.04, 0.035), (0.02, 0.012, -0.04, -0.035), (0.012, -0.02, 0.04, -0.035), (-0.012, 0.02, -0.04, 0.035),
    (0.027, -0.004, 0.015, 0.06), (-0.027, 0.004, -0.015, -0.06), (0.004, 0.027, 0.015, -0.06), (-0.004, -0.027, -0.015, 0.06),
)
