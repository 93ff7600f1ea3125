"""Choosing the person of a clip, and following that face through every frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from ..errors import AvatarError
from .faults import MAX_OUTSIDE, roll_deg, share_outside
from .landmarks import FLIPPED, NUM_LANDMARKS, Face, FaceDetector
from .model import NONE, OTHER_PERSON, OUT_OF_FRAME, UPSIDE_DOWN
from .same_face import FaceLook, face_look, least_unlike, unlike

PROBE_EVERY_S = 1.0
"""Seconds between the pictures in which all faces are looked for."""
LIKE, UNLIKE, UNLIKE_ALONE = 0.5, 0.8, 1.0
"""Difference of looks (``same_face``) that makes a face surely the same, surely another, and surely another where nobody else is known."""
STEP = 0.45
"""Change of the look from one frame to the next at which it is asked whether this is still the same face; at most 0.25 in one face (measured)."""
MAX_STEP_WIDTHS = 0.4
"""The same for its place, in face widths."""
MAX_ROLL_STEP_DEG = 60.0
"""A head does not turn by more in the picture between two frames: the points have flipped."""
MEMORY = 16
"""Looks remembered besides those of the probes, one in every 5 frames."""


@dataclasses.dataclass
class Person:
    """A face seen in some of the probed pictures: frame numbers, the face in each, and its look (none where looks are not used)."""

    indices: list[int] = dataclasses.field(default_factory=list)
    faces: list[Face] = dataclasses.field(default_factory=list)
    looks: list[FaceLook] = dataclasses.field(default_factory=list)
    rivals: list[FaceLook] = dataclasses.field(default_factory=list)
    """Looks of everybody else in the clip."""

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


def group_people(probes: list[tuple[int, list[Face]]], looks: list[list[FaceLook]] | None = None) -> list[Person]:
    """Connects the faces of the probed pictures into people, by place and by look.

    A face joins a person last seen within 1.5 face widths who does not look like somebody else, or one who looks the same, wherever; the best
    pairs first. Without looks, the place alone decides.
    """
    people: list[Person] = []
    for number, (index, faces) in enumerate(probes):
        pairs = []
        for f, face in enumerate(faces):
            centre = face.landmarks_px.mean(0)
            for p, person in enumerate(people):
                distance = float(np.linalg.norm(person.faces[-1].landmarks_px.mean(0) - centre)) / max(face.width_px, 1.0)
                difference = least_unlike(looks[number][f], person.looks) if looks is not None else 0.0
                is_near = distance < 1.5 and difference < 2 * UNLIKE
                if is_near or (looks is not None and difference < LIKE):
                    pairs.append((difference + 0.2 * min(distance, 3.0) if looks is not None else distance, f, p))
        person_of: dict[int, int] = {}
        for _, f, p in sorted(pairs):
            if f not in person_of and p not in person_of.values():
                person_of[f] = p
        for f, face in enumerate(faces):
            if f not in person_of:
                people.append(Person())
            person = people[person_of.get(f, -1)]
            person.indices.append(index)
            person.faces.append(face)
            if looks is not None:
                person.looks.append(looks[number][f])
    return people


def choose_person(
    probes: list[tuple[int, list[Face]]], min_face_px: float, clip_name: str, looks: list[list[FaceLook]] | None = None,
) -> tuple[Person, tuple[str, ...]]:
    """The largest face that persists (area times number of appearances), and what to tell the user.

    Raises:
        AvatarError: ``bad_input`` when there is no face, or the face is narrower than ``min_face_px``.
    """
    people = group_people(probes, looks)
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
    if looks is not None:
        person.rivals.extend(look for one in people if one is not person for look in one.looks)
    return person, tuple(notes)


class Follower:
    """Finds the chosen person's face in one frame after the other.

    A face is taken for another person's when its look, asked for at every jump of place, turn or look (always, where others are known),
    is unlike everything remembered of the person. So the wrong face is refused, and the right one found again, by what it looks like.

    Args:
        detector: entered ``FaceDetector``. person: from ``choose_person``.
    """

    def __init__(self, detector: FaceDetector, person: Person):
        self._detector = detector
        self._person = person
        self._last: np.ndarray | None = None
        self._last_look: FaceLook | None = None
        self._last_roll_deg: float | None = None
        self._memory: list[FaceLook] = []
        self._num_missed = 0

    def find(self, rgb: np.ndarray, index: int) -> tuple[Face | None, int]:
        """The person's face in frame ``index``, or None; and why not (a fault of ``Capture``, ``NONE`` for no particular reason).

        Frames must come in order.
        """
        centre, width = self._person.place(index)
        faults = []
        for face in self._candidates(rgb, index, centre):
            if not self._is_plausible(face, centre, width):
                continue
            fault, look = self._judge(rgb, face)
            if fault == NONE:
                self._remember(face, look, index)
                return face, NONE
            faults.append(fault)
        self._last, self._last_look = None, None
        self._num_missed += 1
        return None, max(faults, key=(NONE, UPSIDE_DOWN, OUT_OF_FRAME, OTHER_PERSON).index, default=NONE)

    def _candidates(self, rgb: np.ndarray, index: int, centre: np.ndarray) -> Iterator[Face]:
        """Faces to be judged, the likeliest and cheapest first."""
        for guess_px in (self._last, self._person.guess_px(index)):
            face = None if guess_px is None else self._detector.refine(rgb, guess_px)
            if face is not None:
                yield self._detector.turned_right(rgb, face)
        # a lost face is searched for in the whole picture, at first in every frame, later in every 5th
        if self._num_missed < 5 or self._num_missed % 5 == 0:
            yield from sorted(self._detector.detect(rgb), key=lambda one: float(np.linalg.norm(one.landmarks_px.mean(0) - centre)))
            yield from self._detector.detect_turned(rgb)

    def _judge(self, rgb: np.ndarray, face: Face) -> tuple[int, FaceLook | None]:
        """The fault of a face that makes it useless, or ``NONE``; and its look when it had to be taken."""
        if share_outside(face.landmarks_px, (rgb.shape[0], rgb.shape[1])) > MAX_OUTSIDE:
            return OUT_OF_FRAME, None
        roll = float(roll_deg(face.landmarks_px))
        if self._last_roll_deg is not None and abs((roll - self._last_roll_deg + 180) % 360 - 180) > MAX_ROLL_STEP_DEG and face.confidence < FLIPPED:
            return UPSIDE_DOWN, None
        if not self._person.looks:
            return NONE, None
        look = face_look(rgb, face.landmarks_px)
        if self._person.rivals or self._has_stepped(face, look):
            own = least_unlike(look, self._person.looks + self._memory)
            if own > (UNLIKE if self._person.rivals else UNLIKE_ALONE) or own > least_unlike(look, self._person.rivals):
                return OTHER_PERSON, look
        return NONE, look

    def _has_stepped(self, face: Face, look: FaceLook) -> bool:
        if self._last is None or self._last_look is None:
            return True
        step_px = float(np.median(np.linalg.norm(face.landmarks_px - self._last, axis=-1)))
        return step_px > MAX_STEP_WIDTHS * face.width_px or unlike(look, self._last_look) > STEP

    def _remember(self, face: Face, look: FaceLook | None, index: int) -> None:
        self._last, self._last_look, self._num_missed = face.landmarks_px, look, 0
        self._last_roll_deg = float(roll_deg(face.landmarks_px))
        # only what is surely the person enters the memory, so that it cannot drift over to somebody who passes in front
        if look is not None and index % 5 == 0 and least_unlike(look, self._person.looks) < LIKE:
            self._memory = [*self._memory, look][-MEMORY:]

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
