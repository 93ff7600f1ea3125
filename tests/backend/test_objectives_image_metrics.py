"""PSNR and SSIM against values that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from backend.objectives.image_metrics import psnr_db, ssim_map

ALL = np.ones((40, 50), bool)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (40, 50, 3))


def test_psnr_of_a_constant_difference():
    assert psnr_db(np.full((40, 50, 3), 0.6), np.full((40, 50, 3), 0.5), ALL) == pytest.approx(20.0)
    assert psnr_db(np.full((40, 50, 3), 0.51), np.full((40, 50, 3), 0.5), ALL) == pytest.approx(40.0, abs=1e-6)


def test_psnr_of_uniform_noise_against_grey():
    # The variance of U(0, 1) is 1/12: 10.79 dB.
    assert psnr_db(np.random.default_rng(0).uniform(0, 1, (400, 400, 3)), np.full((400, 400, 3), 0.5), np.ones((400, 400), bool)) == pytest.approx(10.79, abs=0.03)


def test_psnr_looks_inside_the_mask_only():
    picture, reference = np.zeros((40, 50, 3)), np.zeros((40, 50, 3))
    picture[:20] = 1
    mask = np.zeros((40, 50), bool)
    mask[20:] = True
    assert psnr_db(picture, reference, mask) == np.inf
    mask[19] = True
    assert psnr_db(picture, reference, mask) == pytest.approx(10 * np.log10(21), abs=1e-9)
    assert np.isnan(psnr_db(picture, reference, np.zeros((40, 50), bool)))


def test_ssim_is_one_for_equal_pictures_and_symmetric():
    a, b = noise(0), noise(1)
    np.testing.assert_allclose(ssim_map(a, a, ALL), 1, atol=1e-9)
    np.testing.assert_allclose(ssim_map(a, b, ALL), ssim_map(b, a, ALL), atol=1e-12)


def test_ssim_of_flat_pictures_is_the_luminance_term():
    a, b = np.full((40, 50, 3), 0.3), np.full((40, 50, 3), 0.5)
    expected = (2 * 0.3 * 0.5 + 1e-4) / (0.3**2 + 0.5**2 + 1e-4)
    np.testing.assert_allclose(ssim_map(a, b, ALL), expected, atol=2e-3)


def test_ssim_of_reduced_contrast_is_the_structure_term():
    """A picture and its copy at contrast c about the same local mean: 2c / (1 + c^2), far from the constants' reach, for a fast checkerboard."""
    board = np.where((np.indices((40, 50)).sum(0) % 2).astype(bool), 0.9, 0.1)[..., None].repeat(3, -1)
    faded = 0.5 + 0.25 * (board - 0.5)
    value = ssim_map(faded, board, ALL)[10:-10, 10:-10]
    variance = 0.16
    expected = (2 * 0.25 * variance + 9e-4) / (variance * (1 + 0.0625) + 9e-4)
    np.testing.assert_allclose(value, expected, rtol=5e-3)


def test_ssim_agrees_with_a_direct_sum():
    """The Gaussian window written out at one interior pixel."""
    a, b = noise(2), noise(3)
    offset = np.arange(-5, 6)
    window = np.exp(-(offset[:, None] ** 2 + offset[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    expected = []
    for channel in range(3):
        x, y = (image[15:26, 20:31, channel] for image in (a, b))
        mean_x, mean_y = (window * x).sum(), (window * y).sum()
        var_x, var_y = (window * (x - mean_x) ** 2).sum(), (window * (y - mean_y) ** 2).sum()
        cov = (window * (x - mean_x) * (y - mean_y)).sum()
        expected.append((2 * mean_x * mean_y + 1e-4) * (2 * cov + 9e-4) / ((mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4)))
    assert ssim_map(a, b, ALL)[20, 25] == pytest.approx(np.mean(expected), abs=1e-6)


def test_what_lies_outside_the_mask_changes_no_ssim():
    a, b = noise(4), noise(5)
    mask = np.zeros((40, 50), bool)
    mask[8:30, 10:40] = True
    changed = a.copy()
    changed[~mask] = 0
    np.testing.assert_array_equal(ssim_map(a, b, mask), ssim_map(changed, b, mask))
