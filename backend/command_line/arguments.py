"""What may be typed, and what it means: arguments -> one command. Standard library only."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from .. import __version__
from ..errors import AvatarError


@dataclasses.dataclass(frozen=True)
class Command:
    """One command line. kind: a job kind of the protocol, or "worker". settings: by option name. is_json: speak JSON lines."""

    kind: str
    settings: dict[str, Any]
    is_json: bool


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise AvatarError("bad_request", f"{message[:1].upper()}{message[1:]}.", f"See {self.prog} --help.", {"usage": self.format_usage().strip()})


def parse(arguments: Sequence[str]) -> Command:
    """Reads a command line.

    Raises:
        AvatarError: ``bad_request`` for anything unknown, missing or malformed.
        SystemExit: after ``--help`` and ``--version``.
    """
    values = vars(_parser().parse_args(list(arguments)))
    kind = values.pop("kind")
    return Command(kind, values, values.pop("json", False))


def _parser() -> _Parser:
    parser = _Parser(prog="python -m backend", description="A video of a person becomes an animatable head for Blender.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"Video Avatar {__version__}")
    commands = parser.add_subparsers(dest="kind", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        if name != "worker":
            added.add_argument("--json", action="store_true", help="write progress and result to stdout as JSON lines (docs/protocol.md)")
        return added

    one = command("reconstruct", "Make an avatar package from a clip.")
    one.add_argument("video", type=Path, help="the clip")
    one.add_argument("--out", type=Path, required=True, help="folder to make, NAME.avatar; finished stages lie beside it in NAME.work")
    one.add_argument("--rig", default="anny", help="head model: anny (default), flame:FILE or ict:PATH")
    one.add_argument("--preset", default="standard", help="draft, standard (default) or high")
    one.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    one.add_argument("--consent", action="store_true", help="the person in the clip agreed to this avatar; recorded in the package")
    one.add_argument("--overwrite", action="store_true", help="replace an existing avatar package; other files in that folder are kept")

    one = command("synth", "Make a synthetic clip whose truth is known.")
    one.add_argument("--out", type=Path, required=True, help="folder to make: clip.mp4, truth.npz, ...")
    one.add_argument("--seconds", type=float, help="length of the clip, s")
    one.add_argument("--size", type=_size, help="side of the square frame, px, or WIDTHxHEIGHT")
    one.add_argument("--seed", type=int, help="another seed is another person, performance and light")
    one.add_argument("--renderer", help="fast (own rasteriser) or cycles (hair, soft shadows; slow)")
    one.add_argument("--fps", type=float, help="frame rate, 1/s")
    one.add_argument("--face-share", type=float, help="height of the face over the height of the frame; 0 (default) frames a talking head")
    one.add_argument("--light-seed", type=int, help="another number is another light on the same person and performance; 0 (default) is the seed's own")
    one.add_argument("--dynamic-texture", action="store_true", default=None, help="wrinkles, blush and lids change with the expression")
    one.add_argument("--performance", help="talk (speech, moods, turns of 25 degrees) or chair (a quiet turn to 75 degrees on both sides)")
    one.add_argument("--rig", default="anny", help="head model: anny (default), flame:FILE or ict:PATH")

    one = command("evaluate", "Measure an avatar package against its clip again; rewrites its report.json and contact_sheet.png.")
    one.add_argument("package", type=Path, help="NAME.avatar")
    one.add_argument("--video", type=Path, help="the clip it was made from (default: where it was then, or beside the package)")
    one.add_argument("--truth", type=Path, help="truth.npz of a synthetic clip (default: the one beside the clip, if any)")
    one.add_argument("--truth-rig", default="", help="head model the synthetic clip was made with: anny, flame:FILE or ict:PATH (default: the avatar's own)")

    one = command("track-again", "Track a range of an avatar's clip again; writes a patch (docs/formats/track-patch.md) and leaves the avatar alone.")
    one.set_defaults(kind="track_again")
    one.add_argument("package", type=Path, help="NAME.avatar")
    one.add_argument("--frames", type=_frames, required=True, metavar="FIRST-LAST", help="frames of the clip, counted from 0, both included")
    one.add_argument("--out", type=Path, required=True, help="the patch to write, .npz")
    one.add_argument("--video", type=Path, help="the clip it was made from (default: where it was then, or beside the package)")
    one.add_argument(
        "--pin", type=_pin, action="append", default=[], metavar="FRAME:VERTEX:X,Y", help="vertex of the head at this pixel of that frame; any number of times"
    )
    one.add_argument("--set", type=_setting, action="append", default=[], metavar="NAME=VALUE", help="another value for a setting of the tracker; any number of times")

    one = command("bake-textures", "Paint an avatar's textures with its exact network, one picture per frame.")
    one.set_defaults(kind="bake_textures")
    one.add_argument("package", type=Path, help="NAME.avatar")
    one.add_argument("--frames", type=Path, required=True, help="controls and rotations of every frame, .npz (docs/formats/texture-frames.md)")
    one.add_argument("--out", type=Path, required=True, help="folder to make: numbered pictures and frames.json")
    one.add_argument("--format", dest="file_format", default="png", help="png (8 bit sRGB, default) or exr (half float, linear)")
    one.add_argument("--dynamic", type=float, default=1.0, help="0 = the static texture, 1 = all of the dynamic one (default)")
    one.add_argument("--overwrite", action="store_true", help="replace a folder that was baked before")

    one = command("probe", "Say what this machine offers, what is missing and how to get it.")
    one.add_argument("--warm", action="store_true", help="also compile the renderers for this machine now, so that the first reconstruction does not wait")

    one = command("bench", "Time the renderers on this machine.")
    one.add_argument("subject", choices=("render",), help="what to time")
    one.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    one.add_argument("--only", default="*", metavar="PATTERN", help="cases by name, such as 'gaussians.*'")
    one.add_argument("--seconds", type=float, default=2.0, help="time for each case (default 2)")
    one.add_argument("--threads", type=_threads, default=2, help="threads of every library (default 2)")
    one.add_argument("--prototypes", type=Path, help="folder of the prototypes to compare with (default: shared/prototypes beside the checkout)")
    one.add_argument("--out", type=Path, help="folder for render.json, render.md and curves.svg")

    command("worker", "Serve the add-on: JSON lines on stdin and stdout.")
    return parser


def _threads(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of threads")
    return number


def _frames(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    try:
        return int(first), int(last or first)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no range such as 40-65") from None


def _pin(text: str) -> dict[str, Any]:
    try:
        frame, vertex, place = text.split(":")
        x_px, y_px = place.split(",")
        return {"frame": int(frame), "vertex_id": int(vertex), "x_px": float(x_px), "y_px": float(y_px)}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no pin such as 40:1234:310.5,222") from None


def _setting(text: str) -> tuple[str, Any]:
    """Name and value; the value is read as JSON."""
    name, sign, value = text.partition("=")
    try:
        if not sign or not name:
            raise ValueError
        return name, json.loads(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no setting such as smooth_frames=2 or use_photometric=false") from None


def _size(text: str) -> tuple[int, int]:
    """(height, width) px from ``256`` or ``360x640`` (width x height)."""
    width, _, height = text.partition("x")
    try:
        return int(height or width), int(width)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 256 or 360x640") from None
