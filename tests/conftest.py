"""What every test may ask for."""

import os

import pytest
import safetensors.torch
import torch
from hypothesis import settings

# One thread per worker: the suite runs in parallel, and results do not depend on how sums are cut.
torch.set_num_threads(1)

# Tests run side by side already: work that asks for no number of processes stays in its own.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("NEARSIGHT_CORES", "1")

settings.register_profile("nearsight", derandomize=True, deadline=None)
settings.load_profile("nearsight")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def rng() -> torch.Generator:
    """Chance with a fixed seed."""
    return torch.Generator().manual_seed(20240906)


@pytest.fixture
def misaligned_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tensor comes out of the reader of files as a transposed view that begins 8 bytes beside a multiple of 64.

    Matrix libraries take another path for such memory on some processors only: a test of equal bits that runs with it
    does not depend on which.
    """
    read = safetensors.torch.load

    def misplaced(tensor: torch.Tensor) -> torch.Tensor:
        size = tensor.numel() * tensor.element_size()
        buffer = torch.zeros(size + 128, dtype=torch.uint8)
        start = (8 - buffer.data_ptr()) % 64
        view = buffer[start : start + size].view(tensor.dtype).reshape(tensor.shape[::-1])
        view = view.permute(tuple(range(tensor.ndim))[::-1]).copy_(tensor)
        assert size == 0 or view.data_ptr() % 64 == 8
        return view

    monkeypatch.setattr(safetensors.torch, "load", lambda data: {k: misplaced(t) for k, t in read(data).items()})


@pytest.fixture
def blank_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports whose figures are drawn but not rendered, which takes most of the time of a tiny run."""
    monkeypatch.setattr("nearsight.plots.style.Picture.rendered", lambda self, *kinds: (b"",) * len(kinds))
