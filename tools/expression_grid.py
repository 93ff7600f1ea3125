"""Draws an avatar with expressions that its clip never showed, and checks its textures.

    python tools/expression_grid.py AVATAR [--out grid.png] [--cell 256]

Every texture the avatar has (albedo, exact network, distilled) is drawn from the front in the clip's light. The checks are printed as JSON; the exit
code is 1 when a texel outside the mask changes, a value leaves [0, 1] or is not a number. Grey captions mark expressions that the clip does show.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main() -> int:
    from backend.evaluation.expression_grid import draw_grid
    from backend.evaluation.sheet import write_sheet
    from backend.package.read import read_package

    parser = argparse.ArgumentParser(description="Unseen expressions of an avatar.")
    parser.add_argument("avatar", type=Path)
    parser.add_argument("--out", type=Path, help="picture to write (default: beside the avatar, NAME.grid.png)")
    parser.add_argument("--cell", type=int, default=256, help="side of one picture, px")
    options = parser.parse_args()
    grid, checks = draw_grid(read_package(options.avatar), options.cell)
    out = options.out or options.avatar.with_suffix(".grid.png")
    write_sheet(out, grid)
    print(json.dumps({"picture": str(out), **checks}, indent=1))  # noqa: T201
    return int(any(figures[key] for figures in checks["textures"].values() for key in ("num_nonfinite", "num_out_of_range", "num_changed_outside")))


if __name__ == "__main__":
    raise SystemExit(main())
