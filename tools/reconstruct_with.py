"""Reconstructs a clip with settings the command line does not offer.

    python tools/reconstruct_with.py CLIP --out NAME.avatar [--preset standard] [--track '{"use_photometric": false}']
                                     [--settings '{"dynamic_texture": {"num_steps": 300}}'] [--share OTHER.avatar]

``--share`` takes stages that do not depend on the tracker (capture, background) from the work folder of another avatar of the same clip.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SHARED_STAGES = ("capture-*", "background-*")


def main() -> int:
    from backend.config import from_dict, preset_config, to_dict
    from backend.output_folder import work_folder
    from backend.pipeline import reconstruct
    from backend.reporter import Reporter

    parser = argparse.ArgumentParser(description="A reconstruction with other tracker settings.")
    parser.add_argument("clip", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--track", default="{}")
    parser.add_argument("--settings", default="{}", help="settings of any stage, as JSON: {stage: {name: value}}")
    parser.add_argument("--share", type=Path)
    options = parser.parse_args()
    config = preset_config(options.preset)
    changes = json.loads(options.settings)
    changes["track"] = {**changes.get("track", {}), **json.loads(options.track)}
    stages = {name: from_dict(type(getattr(config, name)), {**to_dict(getattr(config, name)), **values}, f"{name}.") for name, values in changes.items()}
    if options.share is not None:
        share(work_folder(options.share.absolute()), work_folder(options.out.absolute()))
    reconstruct(options.clip, options.out, dataclasses.replace(config, **stages), Reporter(), consent=True, overwrite=True)
    return 0


def share(source: Path, target: Path) -> None:
    """Copies finished stages; each carries its own key, so one that does not fit is simply not used."""
    for pattern in SHARED_STAGES:
        for folder in sorted(source.glob(pattern)):
            if not (target / folder.name).exists():
                shutil.copytree(folder, target / folder.name)


if __name__ == "__main__":
    raise SystemExit(main())
