"""Choosing the person of a clip, and following that face through every frame."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..errors import AvatarError
from .landmarks import NUM_LANDMARKS, Face, FaceDetector

PROBE_EVERY_S = 1.0
"""Seconds between the pictures in which all faces are looked for."""


@dataclasses.dataclass
class Person:
    """A face seen in some of the probed pictures: frame numbers and the face in each."""

    indices: list[int] = dataclasses.field(default_factory=list)
    faces: list[Face] = dataclasses.field(default_factory=list)

    @property
    def width_px(self) -> float:
        return float(np.median([face.width_px for face in self.faces]))

    def guess_px(self, index: int) -> np.ndarray:
        """(478, 2): landmarks of the probe nearest in time, moved to where the face is expected at a frame."""
        nearest = self.faces[int(np.argmin(np.abs(np.array(self.indices) - index)))].landmarks_px
        return nearest - nearest.mean(0) + self.place(index)[0]

    def place(self, index: int) -> tuple[np.ndarray, float]:
        """Expected centre (2,) px and width px at a frame, interpolated between probes."""
        centres = np.array([face.landmarks_px.mean(0) for face in self.faces])
        widths = np.array([face.width_px for face in self.faces])
        centre = np.array([np.interp(index, self.indices, centres[:, axis]) for axis in (0, 1)])
        return centre, float(np.interp(index, self.indices, widths))


def group_people(probes: list[tuple[int, list[Face]]]) -> list[Person]:
    """Connects the faces of the probed pictures into people: each face joins the nearest person within 1.5 face widths of where
    that person was last seen."""
    people: list[Person] = []
    for index, faces in probes:
        free = list(people)
        for face in faces:
            centre = face.landmarks_px.mean(0)
            distances = [float(np.linalg.norm(person.faces[-1].landmarks_px.mean(0) - centre)) / max(face.width_px, 1.0) for person in free]
            if distances and min(distances) < 1.5:
                person = free.pop(int(np.argmin(distances)))
            else:
                person = Person()
                people.append(person)
            person.indices.append(index)
            person.faces.append(face)
    return people


def choose_person(probes: list[tuple[int, list[Face]]], min_face_px: float, clip_name: str) -> tuple[Person, tuple[str, ...]]:
    """The largest face that persists (area times number of appearances), and what to tell the user.

    Raises:
        AvatarError: ``bad_input`` when there is no face, or the face is narrower than ``min_face_px``.
    """
    people = group_people(probes)
    if not people:
        raise AvatarError(
            "bad_input", f"No face was found in {clip_name} (looked at {len(probes)} of its frames, the first is frame {probes[0][0] if probes else 0}).",
            "Use a clip in which the face is turned to the camera, lit, and not covered.", {"frame": probes[0][0] if probes else 0},
        )
    person = max(people, key=lambda one: len(one.indices) * one.width_px**2)
    if person.width_px < min_face_px:
        raise AvatarError(
            "bad_input", f"The face in {clip_name} is only {person.width_px:.0f} px wide at frame {person.indices[0]}; {min_face_px:.0f} px are needed.",
            "Film closer, or crop and export the clip at a higher resolution.",
            {"frame": person.indices[0], "face_px": person.width_px, "min_face_px": min_face_px},
        )
    notes = []
    most = max(len(faces) for _, faces in probes)
    lasting = [one for one in people if one is not person and len(one.indices) >= max(2, 0.1 * len(probes))]
    if most > 1 or lasting:
        notes.append(f"{max(most, len(lasting) + 1)} faces found; following the one that is largest and stays ({person.width_px:.0f} px wide).")
    return person, tuple(notes)


class Follower:
    """Finds the chosen person's face in one frame after the other.

    Args:
        detector: entered ``FaceDetector``. person: from ``choose_person``.
    """

    def __init__(self, detector: FaceDetector, person: Person):
        self._detector = detector
        self._person = person
        self._last: np.ndarray | None = None
        self._num_missed = 0

    def find(self, rgb: np.ndarray, index: int) -> Face | None:
        """The person's face in frame ``index``, or None. Frames must come in order."""
        centre, width = self._person.place(index)
        face = None
        for guess_px in (self._last, self._person.guess_px(index)):
            if face is None and guess_px is not None:
                face = self._detector.refine(rgb, guess_px)
                face = face if face is not None and self._is_plausible(face, centre, width) else None
        # a lost face is searched for in the whole picture, at first in every frame, later in every 5th
        if face is None and (self._num_missed < 5 or self._num_missed % 5 == 0):
            candidates = [face for face in self._detector.detect(rgb) if self._is_plausible(face, centre, width)]
            face = min(candidates, key=lambda one: float(np.linalg.norm(one.landmarks_px.mean(0) - centre)), default=None)
        self._last = None if face is None else face.landmarks_px
        self._num_missed = 0 if face is not None else self._num_missed + 1
        return face

    def _is_plausible(self, face: Face, centre: np.ndarray, width: float) -> bool:
        is_sized = 0.4 < face.width_px / max(width, 1.0) < 2.5
        return is_sized and float(np.linalg.norm(face.landmarks_px.mean(0) - centre)) < 2.5 * max(width, face.width_px)


def temporal_consistency(landmarks_px: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """(N,) in [0, 1]: how well each frame lies between its neighbours.

    The landmarks of a frame are compared with the mean of the frames before and after, by the median over points, in shares of the
    outer-eye distance. Half of that distance (a jump to something else) gives about 0.01, ordinary motion more than 0.95.

    Args:
        landmarks_px: (N, 478, 2), NaN where there is no face. time_s: (N,).
    """
    num = len(landmarks_px)
    consistency = np.ones(num)
    for i in range(1, num - 1):
        before, now, after = landmarks_px[i - 1], landmarks_px[i], landmarks_px[i + 1]
        if np.isnan(now[0, 0]) or np.isnan(before[0, 0]) or np.isnan(after[0, 0]):
            continue
        share = (time_s[i] - time_s[i - 1]) / (time_s[i + 1] - time_s[i - 1])
        jump = np.median(np.linalg.norm(now - (before + share * (after - before)), axis=-1))
        eye = max(float(np.linalg.norm(now[263] - now[33])), 1e-6)
        consistency[i] = np.exp(-0.5 * (jump / eye / 0.165) ** 2)
    return consistency


def empty_landmarks(num: int) -> tuple[np.ndarray, np.ndarray]:
    """(num, 478, 2) and (num, 478) float32 of NaN."""
    return np.full((num, NUM_LANDMARKS, 2), np.nan, np.float32), np.full((num, NUM_LANDMARKS), np.nan, np.float32)
