"""From the colours a phone records to sRGB: YCbCr matrices, HLG and PQ tone mapping, BT.2020 and Display-P3 primaries.

SDR video keeps its code values (what every player shows). HDR video is taken to display light, its range is folded into SDR so that
tones up to about half of diffuse white, where faces are, stay as they were, primaries are converted, and the sRGB curve is applied.

Sources: ITU-R BT.2100-2 (HLG and PQ curves, OOTF), ITU-R BT.2408-7 (reference white 203 cd/m2), ITU-R BT.2390-10 section 5.4.1 (EETF),
IEC 61966-2-1 (sRGB), SMPTE RP 177 (primaries to XYZ), ITU-T H.273 (code points).
"""

from __future__ import annotations

import functools

import av
import numba
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation

SDR, HLG, PQ = "sdr", "hlg", "pq"
REFERENCE_WHITE_CD = 203.0
HDR_PEAK_CD = 1000.0
BT709, BT2020, SMPTE432 = 1, 9, 12

_WHITE_D65 = (0.3127, 0.3290)
_PRIMARIES = {
    BT709: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    SMPTE432: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}


def transfer_name(code_point: int) -> str:
    """"hlg", "pq" or "sdr" for a transfer characteristic of ITU-T H.273."""
    return {16: PQ, 18: HLG}.get(code_point, SDR)


def hlg_scene_linear(signal: np.ndarray) -> np.ndarray:
    """HLG inverse OETF (BT.2100 table 5): signal in [0, 1] to scene light in [0, 1]."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    signal = np.asarray(signal, dtype=np.float64)
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((np.maximum(signal, 0.5) - c) / a) + b) / 12)


def pq_display_cd(signal: np.ndarray) -> np.ndarray:
    """PQ EOTF (BT.2100 table 4): signal in [0, 1] to display light in cd/m2."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = np.asarray(signal, dtype=np.float64) ** (1 / m2)
    return 10000.0 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)


def pq_signal(display_cd: np.ndarray) -> np.ndarray:
    """Inverse of ``pq_display_cd``."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = (np.asarray(display_cd, dtype=np.float64) / 10000.0) ** m1
    return ((c1 + c2 * power) / (1 + c3 * power)) ** m2


def srgb_encode(linear: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] to sRGB in [0, 1]."""
    linear = np.clip(np.asarray(linear, dtype=np.float64), 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def srgb_decode(encoded: np.ndarray) -> np.ndarray:
    """Inverse of ``srgb_encode``."""
    encoded = np.asarray(encoded, dtype=np.float64)
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def fold_range_cd(display_cd: np.ndarray, peak_cd: float = HDR_PEAK_CD, target_cd: float = REFERENCE_WHITE_CD) -> np.ndarray:
    """BT.2390 EETF: display light of a ``peak_cd`` picture for a ``target_cd`` display, cd/m2. Identity below the knee."""
    source_peak = pq_signal(np.array(peak_cd))
    target = pq_signal(np.array(target_cd)) / source_peak
    knee = 1.5 * target - 0.5
    value = np.clip(pq_signal(np.maximum(display_cd, 0)) / source_peak, 0, 1)
    t = np.maximum(value - knee, 0) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * target
    return pq_display_cd(np.where(value < knee, value, spline) * source_peak)


@functools.lru_cache(maxsize=4)
def srgb_from_primaries(primaries: int) -> np.ndarray:
    """(3, 3) float64: linear RGB of ``primaries`` (H.273; unknown ones count as BT.709) to linear sRGB."""
    if primaries not in _PRIMARIES:
        return np.eye(3)
    return np.linalg.inv(_xyz_from_rgb(BT709)) @ _xyz_from_rgb(primaries)


def _xyz_from_rgb(primaries: int) -> np.ndarray:
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in _PRIMARIES[primaries]]).T
    x, y = _WHITE_D65
    white = np.array([x / y, 1.0, (1 - x - y) / y])
    return columns * np.linalg.solve(columns, white)


def srgb_from_hdr(signal: np.ndarray, transfer: str, primaries: int = BT2020) -> np.ndarray:
    """Tone maps HDR pixels, exactly and slowly: the reference that the fast path is tested against.

    Args:
        signal: (..., 3) R'G'B' in [0, 1] as recorded. transfer: "hlg" or "pq". primaries: H.273 code point.

    Returns:
        (..., 3) float64 sRGB-encoded in [0, 1].
    """
    signal = np.clip(np.asarray(signal, dtype=np.float64), 0, 1)
    luma = _xyz_from_rgb(primaries if primaries in _PRIMARIES else BT2020)[1]
    if transfer == HLG:
        scene = hlg_scene_linear(signal)
        # OOTF of a 1000 cd/m2 display: gamma 1.2 on luminance, so hues stay
        display_cd = HDR_PEAK_CD * scene * np.maximum(scene @ luma, 1e-9)[..., None] ** 0.2
    else:
        display_cd = pq_display_cd(signal)
    top = np.maximum(display_cd.max(-1, keepdims=True), 1e-9)
    folded = display_cd * (fold_range_cd(top) / top)
    return srgb_encode(folded / REFERENCE_WHITE_CD @ srgb_from_primaries(primaries).T)


class ColourDecoder:
    """Turns decoded frames into (h, w, 3) uint8 sRGB as stored (not turned upright). Holds look-up tables only."""

    def rgb(self, frame: av.VideoFrame) -> np.ndarray:
        transfer, primaries = transfer_name(int(frame.color_trc)), int(frame.color_primaries)
        if transfer == SDR:
            rgb = _to_rgb(frame, "rgb24")
            return _convert_sdr(rgb, primaries) if primaries in (BT2020, SMPTE432) else rgb
        return _fold_pixels(_to_rgb(frame, "rgb48le"), *_hdr_tables(transfer, primaries))


def _to_rgb(frame: av.VideoFrame, pixel_format: str) -> np.ndarray:
    """YCbCr to R'G'B' with the matrix and range the frame names, and nothing else."""
    if frame.format.is_rgb:
        return frame.to_ndarray(format=pixel_format)
    matrix = int(frame.colorspace)
    if matrix not in (1, 4, 5, 6, 7, 9, 10):  # unnamed: high definition is BT.709, the rest BT.601
        matrix = int(Colorspace.ITU709) if min(frame.height, frame.width) >= 720 else int(Colorspace.ITU601)
    is_full = int(frame.color_range) == int(ColorRange.JPEG) or frame.format.name.startswith("yuvj")
    # same matrix on both sides: the library must neither guess it nor convert transfer or primaries
    return frame.reformat(
        format=pixel_format, src_colorspace=matrix, dst_colorspace=matrix,
        src_color_range=ColorRange.JPEG if is_full else ColorRange.MPEG, dst_color_range=ColorRange.JPEG, interpolation=_exact(),
    ).to_ndarray()


def _exact() -> int:
    """Without these two flags the conversion is up to 2 levels dark (measured: -0.8, -1.1, -0.8 on average)."""
    return int(Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT)


@functools.lru_cache(maxsize=4)
def _sdr_tables(primaries: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    linear = srgb_decode(np.arange(256) / 255.0).astype(np.float32)
    return linear, srgb_from_primaries(primaries).astype(np.float32), _encode_table()


@functools.lru_cache(maxsize=1)
def _encode_table() -> np.ndarray:
    return np.round(255 * srgb_encode((np.arange(8192) / 8191.0) ** 2)).astype(np.uint8)


@functools.lru_cache(maxsize=4)
def _hdr_tables(transfer: str, primaries: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Tables over 4096 levels: signal to light (white = 1); light of the brightest channel to gain; see ``_fold_pixels``."""
    signal = np.arange(4096) / 4095.0
    peak = HDR_PEAK_CD / REFERENCE_WHITE_CD
    if transfer == HLG:
        light, ootf = peak * hlg_scene_linear(signal), 0.2
    else:
        light, ootf = pq_display_cd(signal) / REFERENCE_WHITE_CD, 0.0
    top = (np.maximum(np.arange(4096), 1e-3) / 4095.0) ** 2 * peak
    gain = fold_range_cd(top * REFERENCE_WHITE_CD) / (top * REFERENCE_WHITE_CD)
    luma = _xyz_from_rgb(primaries if primaries in _PRIMARIES else BT2020)[1]
    return (light.astype(np.float32), gain.astype(np.float32), luma.astype(np.float32), srgb_from_primaries(primaries).astype(np.float32), _encode_table(), ootf)


def _convert_sdr(rgb: np.ndarray, primaries: int) -> np.ndarray:
    linear, matrix, encode = _sdr_tables(primaries)
    return _convert_pixels(rgb, linear, matrix, encode)


@numba.njit(cache=True)
def _convert_pixels(rgb, linear, matrix, encode):  # type: ignore[no-untyped-def]
    height, width, _ = rgb.shape
    out = np.empty_like(rgb)
    for y in range(height):
        for x in range(width):
            r, g, b = linear[rgb[y, x, 0]], linear[rgb[y, x, 1]], linear[rgb[y, x, 2]]
            for c in range(3):
                value = matrix[c, 0] * r + matrix[c, 1] * g + matrix[c, 2] * b
                value = min(max(value, np.float32(0)), np.float32(1))
                out[y, x, c] = encode[int(np.sqrt(value) * 8191 + 0.5)]
    return out


@numba.njit(cache=True)
def _fold_pixels(rgb, light, gain, luma, matrix, encode, ootf):  # type: ignore[no-untyped-def]
    """(h, w, 3) uint16 signal to uint8 sRGB. Tables of light are indexed by the signal's top 12 bits, gain by the root of light / peak."""
    height, width, _ = rgb.shape
    out = np.empty((height, width, 3), np.uint8)
    peak = np.float32(HDR_PEAK_CD / REFERENCE_WHITE_CD)
    for y in range(height):
        for x in range(width):
            r, g, b = light[rgb[y, x, 0] >> 4], light[rgb[y, x, 1] >> 4], light[rgb[y, x, 2] >> 4]
            if ootf > 0:
                luminance = (luma[0] * r + luma[1] * g + luma[2] * b) / peak
                factor = np.float32(max(luminance, 1e-9) ** ootf)
                r, g, b = r * factor, g * factor, b * factor
            top = min(max(r, g, b) / peak, np.float32(1))
            factor = gain[int(np.sqrt(top) * 4095 + 0.5)]
            for c in range(3):
                value = (matrix[c, 0] * r + matrix[c, 1] * g + matrix[c, 2] * b) * factor
                value = min(max(value, np.float32(0)), np.float32(1))
                out[y, x, c] = encode[int(np.sqrt(value) * 8191 + 0.5)]
    return out
