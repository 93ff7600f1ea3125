"""The colours an avatar can wear: what each column of the report paints on the same tracked surface.

Every appearance gives a whole texture for any pose and view, and says whether the clip's light falls on it. Packages of older writers have only the surface as
filmed; what they lack is left out, and nothing is invented.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np

from ..avatars.instant import Drive
from ..capture.colour import srgb_decode
from ..errors import AvatarError
from ..package.model import AvatarPackage
from ..package.read_dynamic import EIGEN_FILE, KIND, NETWORK_FILE
from ..texture.light import ClipLight
from .drawing import DrawnSurface

TextureOf = Callable[[Drive, np.ndarray], np.ndarray]
STATIC, ALBEDO, DYNAMIC, DISTILLED = "static", "albedo", "dynamic", "distilled"


@dataclasses.dataclass(frozen=True)
class Appearance:
    """name: of the column. texture_of: a drive of one instant and world_from_cam (4, 4) -> (S, S, 3) float32 linear.
    light: what falls on it; None = its light is in the texture. gain: multiplies the picture, linear light.
    """

    name: str
    texture_of: TextureOf
    light: ClipLight | None = None
    gain: float = 1.0

    def picture(self, surface: DrawnSurface, drive: Drive) -> np.ndarray:
        """(H, W, 3) float32, linear, premultiplied with the alpha of ``surface``, which the same drive gave."""
        picture = surface.colour(self.texture_of(drive, surface.world_from_cam), self.light)
        return picture if self.gain == 1.0 else picture * np.float32(self.gain)


def appearances_of(package: AvatarPackage) -> dict[str, Appearance]:
    """Every appearance the package has: ``static`` always (gain 1 until it is fitted), the others when their files are there.

    Raises:
        AvatarError: ``bad_input`` when a file of the package cannot be read.
    """
    filmed = read_linear(package.texture.as_filmed)
    found = {STATIC: Appearance(STATIC, lambda drive, world_from_cam: filmed)}
    texture = package.texture
    has_dynamic = any(asset.kind == KIND for asset in package.assets)
    if texture.light is None or not (texture.is_delit or has_dynamic):
        return found
    albedo = read_linear(texture.albedo)
    found[ALBEDO] = Appearance(ALBEDO, lambda drive, world_from_cam: albedo, texture.light)
    if has_dynamic and texture.mask is not None:
        found[DYNAMIC] = Appearance(DYNAMIC, _exact(package, albedo, read_mask(package)), texture.light)
        found[DISTILLED] = Appearance(DISTILLED, _distilled(package, albedo, read_mask(package)), texture.light)
    return found


def best_of(appearances: dict[str, Appearance]) -> Appearance:
    """What the avatar shows at its best: the exact network, else the de-lit texture in the clip's light, else the surface as filmed."""
    return next(appearances[name] for name in (DYNAMIC, ALBEDO, STATIC) if name in appearances)


def read_linear(path: object) -> np.ndarray:
    """(S, S, 3) float32 linear light of an sRGB picture. Raises ``bad_input`` when it cannot be read."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise AvatarError("bad_input", f"{path} cannot be read as an image.", "Make the avatar again.", {"path": str(path)})
    return srgb_decode(np.arange(256) / 255).astype(np.float32)[picture[..., ::-1]]


def read_mask(package: AvatarPackage) -> np.ndarray:
    """(S, S) float32 in [0, 1], where the dynamic texture may paint; zeros when the package says nothing."""
    path = package.texture.mask
    if path is None:
        return np.zeros((package.texture.size_px,) * 2, np.float32)
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise AvatarError("bad_input", f"{path} cannot be read as an image.", "Make the avatar again.", {"path": str(path)})
    return mask.astype(np.float32) / 255


def _exact(package: AvatarPackage, albedo: np.ndarray, mask: np.ndarray) -> TextureOf:
    from ..avatars.dynamic_texture.exact import read_exact
    from ..avatars.dynamic_texture.inputs import gather_inputs, head_orientation
    from ..avatars.dynamic_texture.painting import TexturePainter

    exact = read_exact(package.folder / NETWORK_FILE)
    painter = TexturePainter(albedo, mask, exact.canvas, exact.windows)
    controls, joints = package.animation.control_names, package.mesh.joint_names

    def texture_of(drive: Drive, world_from_cam: np.ndarray) -> np.ndarray:
        orientation = head_orientation(drive.world_from_root, drive.joint_rotations, joints, world_from_cam[None])
        return painter.paint(exact.offsets(gather_inputs(exact.space.names, controls, drive.controls, joints, drive.joint_rotations, orientation)))[0]

    return texture_of


def _distilled(package: AvatarPackage, albedo: np.ndarray, mask: np.ndarray) -> TextureOf:
    from ..avatars.dynamic_texture.eigen_files import read_eigen
    from ..avatars.dynamic_texture.eigen_render import EigenPainter

    eigen = read_eigen(package.folder / EIGEN_FILE)
    painter, columns = EigenPainter(eigen, albedo, mask), eigen.columns(package.animation.control_names)
    return lambda drive, world_from_cam: painter.texture(drive.controls[0, columns])
