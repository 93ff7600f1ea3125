"""gsplat's CUDA compositor, where somebody has already compiled it for this machine. Nothing here starts a compiler.

gsplat compiles itself on the first call of any CUDA function, for minutes. So it is used only when its binary is there: as the
wheel's own extension, or as the finished build of an earlier compilation that is newer than its sources.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from .gaussian_compositing import ScreenGradients
    from .gaussian_projection import ProjectedGaussians

_TILE_PX = 16


@functools.cache
def is_compiled() -> bool:
    """gsplat can be used on this machine without compiling anything."""
    spec = importlib.util.find_spec("gsplat")
    if spec is None or not spec.submodule_search_locations or not torch.cuda.is_available():
        return False
    folder = Path(next(iter(spec.submodule_search_locations)))
    if any(folder.glob("csrc*.so")) or any(folder.glob("csrc*.pyd")):
        return True
    library = _build_folder() / "gsplat_cuda" / "gsplat_cuda.so"
    if not library.is_file():
        return False
    sources = [*folder.glob("cuda/csrc/*"), *folder.glob("cuda/include/*"), folder / "cuda" / "ext.cpp"]
    return all(path.stat().st_mtime <= library.stat().st_mtime for path in sources if path.is_file())


def _build_folder() -> Path:
    """Where torch keeps extensions that were compiled on first use, without making the folder."""
    if "TORCH_EXTENSIONS_DIR" in os.environ:
        return Path(os.environ["TORCH_EXTENSIONS_DIR"])
    from torch.utils.cpp_extension import get_default_build_root

    version = (torch.version.cuda or "").replace(".", "")
    python = f"py{os.sys.version_info.major}{os.sys.version_info.minor}{getattr(os.sys, 'abiflags', '')}"
    return Path(get_default_build_root()) / f"{python}_cu{version}"


def composite(
    projected: ProjectedGaussians, opacities: torch.Tensor, colours: torch.Tensor, background: torch.Tensor, size: tuple[int, int], use_depth: bool,
    screen_gradients: ScreenGradients | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """See ``gaussian_compositing.composite_gaussians``; the same conventions are gsplat's own."""
    from gsplat.cuda._wrapper import isect_offset_encode, isect_tiles, rasterize_to_pixels

    height, width = size
    tiles_x, tiles_y = -(-width // _TILE_PX), -(-height // _TILE_PX)
    features = torch.cat([colours, projected.depths_m[:, None]], 1) if use_depth else colours
    behind = torch.cat([background, background.new_zeros(1)]) if use_depth else background
    # A copy per call, because gsplat leaves the absolute gradients on the tensor it was given.
    means_px = projected.means_px.clone()[None]
    with torch.no_grad():
        _, keys, ids = isect_tiles(means_px, projected.radii_px[None], projected.depths_m[None], _TILE_PX, tiles_x, tiles_y)
        offsets = isect_offset_encode(keys, 1, tiles_x, tiles_y)
    if screen_gradients is not None and means_px.requires_grad:
        means_px.register_hook(lambda grad: _record(screen_gradients, means_px, grad))
    picture, alpha = rasterize_to_pixels(
        means_px, projected.conics[None], features[None], opacities[None], width, height, _TILE_PX, offsets, ids, backgrounds=behind[None],
        absgrad=screen_gradients is not None,
    )
    num_channels = colours.shape[1]
    return picture[0, ..., :num_channels], alpha[0, ..., 0], picture[0, ..., num_channels] if use_depth else None


def _record(screen_gradients: ScreenGradients, means_px: torch.Tensor, grad: torch.Tensor) -> None:
    screen_gradients.signed.add_(grad[0])
    screen_gradients.absolute.add_(means_px.absgrad[0])  # type: ignore[attr-defined]
