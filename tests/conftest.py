"""Options and fixtures for every test; lets every test folder import the helpers that lie in ``tests/``."""

import sys
from pathlib import Path

import pytest

for folder in (Path(__file__).parent, Path(__file__).parent.parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", choices=("cpu", "cuda"), help="where the renderers' tests put their tensors")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest):
    """The ``torch.device`` of ``--device``; skips, with the reason, when the machine lacks it."""
    import torch

    name = request.config.getoption("--device")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("--device cuda, but torch sees no CUDA device")
    return torch.device(name)


@pytest.fixture(params=["numba", "torch", "warp"])
def kernels(request: pytest.FixtureRequest, device):
    """Runs a test with each family of kernels: by force on the CPU; on a GPU its own ones and plain torch."""
    from backend.render.kernel_choice import forced_kernels

    if request.param == "numba" and device.type != "cpu":
        pytest.skip("numba's kernels run on the CPU only")
    with forced_kernels(request.param if device.type == "cpu" or request.param == "torch" else None):
        yield request.param
