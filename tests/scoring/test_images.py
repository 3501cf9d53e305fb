"""Metrics of images, pairs and masks against scikit-image, torchmetrics, MONAI and direct computation."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import convolve
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from gansweep.errors import ConfigError
from gansweep.scoring.metrics.fusion import spatial_frequency, sum_of_correlations_of_differences
from gansweep.scoring.metrics.masks import dice
from gansweep.scoring.metrics.paired import lpips, ms_gmsd, ms_ssim, psnr, ssim


def pairs(size: int = 48, channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    base = torch.nn.functional.interpolate(
        torch.randn(4, channels, 9, 9, generator=generator), size=size, mode="bicubic"
    )
    real = base.clamp(-1, 1)
    return real, (real + 0.2 * torch.randn(real.shape, generator=generator)).clamp(-1, 1)


@pytest.fixture(params=["random", pytest.param("ct", marks=pytest.mark.real_data)])
def images(request: pytest.FixtureRequest) -> tuple[torch.Tensor, torch.Tensor]:
    if request.param == "random":
        return pairs()
    root = os.environ.get("GANSWEEP_REAL_DATA")
    if root is None:
        pytest.skip("GANSWEEP_REAL_DATA is not set")
    files = sorted((Path(root) / "head_ct_hemorrhage200" / "images").iterdir())[:4]
    arrays = [np.asarray(Image.open(file).convert("L").resize((96, 96)), dtype=np.float32) for file in files]
    real = torch.tensor(np.stack(arrays))[:, None] / 127.5 - 1
    blurred = torch.nn.functional.avg_pool2d(real, 3, stride=1, padding=1, count_include_pad=False)
    return real, blurred


def unit(image: torch.Tensor) -> np.ndarray:
    return ((image.double() + 1) / 2)[0].numpy()


def test_psnr_and_ssim_equal_scikit_image(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    real, fake = images
    for i, (signal, similarity) in enumerate(zip(psnr(real, fake), ssim(real, fake), strict=True)):
        a, b = unit(real[i]), unit(fake[i])
        assert float(signal) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1), rel=1e-6)
        expected = structural_similarity(
            a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert float(similarity) == pytest.approx(expected, rel=1e-6)


def test_ms_gmsd_equals_a_direct_computation(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    real, fake = images
    prewitt = np.array([[1, 0, -1]] * 3) / 3

    def direct(x: np.ndarray, y: np.ndarray) -> float:
        total = 0.0
        for scale, weight in enumerate((0.096, 0.596, 0.289, 0.019)):
            if scale:
                x, y = (v.reshape(v.shape[0] // 2, 2, v.shape[1] // 2, 2).mean((1, 3)) for v in (x, y))
            gx, gy = (
                np.hypot(convolve(v, prewitt, mode="constant"), convolve(v, prewitt.T, mode="constant")) for v in (x, y)
            )
            similarity = (1.5 * gx * gy + 170) / (gx**2 + gy**2 - 0.5 * gx * gy + 170)
            total += weight * similarity.std() ** 2
        return total**0.5

    for i, value in enumerate(ms_gmsd(real, fake)):
        assert float(value) == pytest.approx(direct(unit(real[i]) * 255, unit(fake[i]) * 255), rel=1e-6)
    assert torch.all(ms_gmsd(real, real) < 1e-12)


def test_ms_ssim_equals_torchmetrics_and_is_refused_on_small_images() -> None:
    from torchmetrics.image import MultiScaleStructuralSimilarityIndexMeasure

    real, fake = pairs(192)
    rival = MultiScaleStructuralSimilarityIndexMeasure(data_range=1.0, reduction="none")
    assert torch.allclose(ms_ssim(real, fake).float(), rival((fake + 1) / 2, (real + 1) / 2), atol=1e-5)
    with pytest.raises(ConfigError, match="above 160 pixels"):
        ms_ssim(*pairs(64))


def test_spatial_frequency_by_hand() -> None:
    """A checkerboard of 0 and 255: every step is 255; an n x n image has n (n - 1) of them in each direction."""
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1
    assert float(spatial_frequency(board[None, None])) == pytest.approx(255 * (2 * 8 * 7 / 64) ** 0.5)
    assert float(spatial_frequency(torch.zeros(1, 1, 8, 8))) == 0


def test_scd_of_a_sum_is_two_and_equals_numpy(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    first, second = images[0], images[0].flip(3)
    assert torch.allclose(sum_of_correlations_of_differences(first, second, first + second), torch.tensor(2.0).double())
    fused = 0.7 * first + 0.3 * second + 0.1 * first.square()
    for i, value in enumerate(sum_of_correlations_of_differences(first, second, fused)):
        a, b, f = (x[i].flatten().double().numpy() for x in (first, second, fused))
        assert float(value) == pytest.approx(np.corrcoef(f - b, a)[0, 1] + np.corrcoef(f - a, b)[0, 1], rel=1e-6)


def test_dice_by_hand() -> None:
    a, b = torch.zeros(3, 1, 4, 4), torch.zeros(3, 1, 4, 4)
    a[0, 0, 0], b[0, 0, :2] = 1, 1  # 4 and 8 pixels, 4 in common
    a[1, 0, 0], b[1, 0, 3] = 1, 1
    assert dice(a, b).tolist() == pytest.approx([2 * 4 / 12, 0, 1])


def test_lpips_by_a_named_network(tmp_path: Path) -> None:
    class Distance(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return (x - y).square().mean((1, 2, 3), keepdim=True)

    torch.jit.save(torch.jit.script(Distance()), tmp_path / "alex.pt")
    real, fake = pairs()
    expected = (real - fake).square().mean((1, 2, 3)).double()
    assert torch.allclose(lpips(real, fake, weights=tmp_path / "alex.pt"), expected)
    torch.save(Distance().state_dict(), tmp_path / "plain.pt")
    with pytest.raises(ConfigError, match="not a TorchScript file"):
        lpips(real, fake, weights=tmp_path / "plain.pt")
