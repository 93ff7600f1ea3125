"""Losses between pictures: zero for equal ones, right for simple ones, blind outside the mask, differentiable."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.errors import AvatarError
from backend.objectives.image_metrics import ssim_map
from backend.objectives.perceptual import VggFeatures, load_vgg16
from backend.objectives.picture_losses import gradient_loss, l1_loss, ssim_loss

LOSSES = (l1_loss, gradient_loss, ssim_loss)


def pictures() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    target = torch.nn.functional.interpolate(torch.rand(2, 3, 12, 14, generator=random), scale_factor=4, mode="bilinear")
    weight = torch.zeros(2, 1, 48, 56)
    weight[:, :, 8:40, 10:44] = 1
    return (target + 0.1 * torch.rand(target.shape, generator=random)).clamp(0, 1), target, weight


@pytest.mark.parametrize("loss", LOSSES)
def test_equal_pictures_lose_nothing_and_the_outside_does_not_count(loss) -> None:
    picture, target, weight = pictures()
    assert float(loss(target, target, weight)) == pytest.approx(0, abs=1e-6)
    value = float(loss(picture, target, weight))
    assert value > 1e-3
    elsewhere = torch.where(weight > 0, picture, 1 - picture)
    assert float(loss(elsewhere, target, weight)) == pytest.approx(value, rel=1e-5)
    assert torch.isfinite(loss(picture, target, torch.zeros_like(weight)))


def test_a_constant_difference_is_seen_by_l1_alone() -> None:
    _, target, weight = pictures()
    shifted = 0.5 * target + 0.25
    assert float(l1_loss(0.5 * target + 0.125, shifted, weight)) == pytest.approx(0.125, rel=1e-5)
    whole = torch.ones_like(weight)
    assert float(gradient_loss(0.5 * target + 0.125, shifted, whole)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_agree_with_differences(loss) -> None:
    picture, target, weight = (values[:1, :, 4:18, 6:20].double() for values in pictures())
    picture = picture.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda values: loss(values, target, weight), (picture,), eps=1e-6, atol=1e-5, fast_mode=True)


def test_the_ssim_loss_follows_the_metric() -> None:
    picture, target, weight = pictures()
    losses, metrics = [], []
    for share in (0.1, 0.3, 0.6, 1.0):
        mixed = target + share * (picture - target)
        losses.append(float(ssim_loss(mixed, target, torch.ones_like(weight))))
        to = lambda values: values[0].permute(1, 2, 0).numpy()  # noqa: E731
        metrics.append(1 - float(np.mean(ssim_map(to(mixed), to(target), np.ones((48, 56), bool)))))
    assert np.all(np.diff(losses) > 0) and np.corrcoef(losses, metrics)[0, 1] > 0.98


def test_vgg_features_are_read_without_running_anything(tmp_path) -> None:
    with pytest.raises(AvatarError) as missing:
        load_vgg16(tmp_path / "none.pth")
    assert missing.value.code == "asset_missing"
    for number, content in enumerate((b"no weights at all", None)):
        path = tmp_path / f"{number}.pth"
        if content is None:
            torch.save({"features.0.weight": torch.zeros(1)}, path)
        else:
            path.write_bytes(content)
        with pytest.raises(AvatarError) as wrong:
            load_vgg16(path)
        assert wrong.value.code == "bad_input"
    made = VggFeatures()
    numbers = {}
    for (number, _, _), layer in zip(((0, 0, 0), (2, 0, 0), (5, 0, 0), (7, 0, 0), (10, 0, 0), (12, 0, 0), (14, 0, 0)), made.convolutions):
        numbers[f"features.{number}.weight"], numbers[f"features.{number}.bias"] = layer.weight.data, layer.bias.data
    torch.save(numbers, tmp_path / "vgg.pth")
    features = load_vgg16(tmp_path / "vgg.pth")
    picture, target, weight = pictures()
    assert [tuple(values.shape[1:]) for values in features(picture)] == [(64, 48, 56), (128, 24, 28), (256, 12, 14)]
    assert float(features.distance(target, target, weight)) == 0
    picture.requires_grad_(True)
    features.distance(picture, target, weight).backward()
    assert picture.grad is not None and float(picture.grad[..., :8, :].abs().max()) == 0 and float(picture.grad.abs().max()) > 0
