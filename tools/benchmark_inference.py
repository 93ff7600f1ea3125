"""How long the exact network takes per instant: raw controls to painted canvas, both decoders, two canvas sizes.

    python tools/benchmark_inference.py AVATAR [--threads 2] [--runs 40]

The inputs are those of a finished avatar, the weights of the other decoder and sizes are random: the time does not depend on them. Prints medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main() -> int:
    parser = argparse.ArgumentParser(description="Time of the exact network.")
    parser.add_argument("avatar", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=40)
    options = parser.parse_args()
    from backend.avatars.dynamic_texture.exact import read_exact
    from backend.avatars.dynamic_texture.network import DECODERS, seeded_network
    from backend.package.model import NETWORK_FILE

    torch.set_num_threads(options.threads)
    space = read_exact(options.avatar / NETWORK_FILE).space
    inputs = torch.zeros(1, len(space.names))
    print("| decoder | canvas, px | bytes | ms |\n|---|---|---|---|")  # noqa: T201
    for decoder in DECODERS:
        for side in (256, 512):
            network = seeded_network(space, side, decoder, 0).eval()
            times = []
            with torch.inference_mode():
                for _ in range(options.runs + 3):
                    started = time.perf_counter()
                    network(inputs)
                    times.append(1e3 * (time.perf_counter() - started))
            print(f"| {decoder} | {side} | {network.num_bytes} | {statistics.median(times[3:]):.1f} |")  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
