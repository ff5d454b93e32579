"""What every test may ask for."""

import pytest
import torch
from hypothesis import settings

# One thread per worker: the suite runs in parallel, and results do not depend on how sums are cut.
torch.set_num_threads(1)

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
