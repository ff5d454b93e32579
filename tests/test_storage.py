"""Files: what is read is what was written, in memory and in content."""

from __future__ import annotations

import pytest
import torch

from nearsight.dynamics import Langevin, simulate
from nearsight.dynamics.scheme import State
from nearsight.forcefields import ClassicalForceField, Forces
from nearsight.hamiltonians import Holstein
from nearsight.lattices import square
from nearsight.storage import load_tensors, owned, save_tensors


def lies_as_fresh(tensor: torch.Tensor) -> bool:
    """Contiguous, at a multiple of 64 bytes, and in memory that belongs to no other."""
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor.is_contiguous() and tensor.data_ptr() % 64 == 0 and whole


SHAPES = {"matrix": (3, 5), "row": (7,), "number": (), "empty": (0, 2), "large": (90, 70), "field": (2, 9, 3)}


@pytest.mark.usefixtures("misaligned_reads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool], ids=str)
def test_loaded_tensors_lie_in_memory_as_fresh_ones(tmp_path, rng, dtype):
    tensors = {name: (10 * torch.rand(shape, generator=rng)).to(dtype) for name, shape in SHAPES.items()}
    save_tensors(tmp_path / "t", tensors, {"a": "b"})
    loaded, metadata = load_tensors(tmp_path / "t")
    assert metadata == {"a": "b"} and loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor) and loaded[name].dtype == tensor.dtype
        assert lies_as_fresh(loaded[name]) and loaded[name].stride() == tensor.stride()


def test_loaded_tensors_outlive_their_file(tmp_path):
    save_tensors(tmp_path / "t", {"x": torch.arange(4000.0)})
    loaded = load_tensors(tmp_path / "t")[0]["x"]
    (tmp_path / "t").write_bytes(b"\xff" * 20_000)
    assert torch.equal(loaded, torch.arange(4000.0))


def test_what_lies_right_is_not_copied():
    fresh = torch.rand(5, 5)
    assert owned(fresh) is fresh
    for odd in (fresh.T, torch.rand(26)[1:].view(5, 5), fresh[:, 0].expand(5, 5)):
        assert lies_as_fresh(owned(odd)) and torch.equal(owned(odd), odd)


def test_every_state_of_a_run_lies_in_memory_as_one_from_a_checkpoint():
    odd = torch.rand(3, 10, dtype=torch.float64).T[1:, :1].expand(9, 3)
    state = State(odd, odd, Forces(odd, odd[0, 0]), 0.0, 0, odd, odd)
    for name in ("field", "velocity", "noise", "history"):
        assert lies_as_fresh(getattr(state, name)) and torch.equal(getattr(state, name), odd)
    assert lies_as_fresh(state.forces.force) and lies_as_fresh(state.forces.energy)
    springs = ClassicalForceField(Holstein(square(3), k=1.0))
    rng = torch.Generator().manual_seed(1)
    scheme = Langevin(dt=0.1, kT=0.1, damping=0.5)
    final = simulate(springs, scheme, odd[..., :1], steps=3, record=None, rng=rng).final
    assert lies_as_fresh(final.field) and lies_as_fresh(final.velocity) and lies_as_fresh(final.forces.force)
