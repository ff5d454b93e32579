"""Force fields as programs of torch.export: the same numbers, in a process that knows PyTorch alone."""

import json
import shutil
import subprocess
import sys

import pytest
import torch

from nearsight.descriptors import SpinInvariants
from nearsight.fields import random_spins, scalar, spin
from nearsight.forcefields import ClassicalForceField, LearnedForceField, export
from nearsight.hamiltonians import Heisenberg, Holstein
from nearsight.lattices import PointCloud, square
from nearsight.networks import MLP, GroupCNN, SpinMessagePassing

CLOUD = PointCloud([[0.1, 0.0, 0.3], [1.0, 0.6, 0.4], [0.2, 1.4, 1.0], [1.5, 1.5, 0.1]], cell=2.0)


def messages(head: str) -> LearnedForceField:
    network = SpinMessagePassing(CLOUD, spin(), 1.3, layers=2, channels=3, vectors=2, radial=3, hidden=6, head=head)
    return LearnedForceField(network)


@pytest.mark.parametrize("batch", [pytest.param(None, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: messages("energy").double(), id="messages"),
        pytest.param(lambda: messages("force").float(), id="messages, direct"),
        pytest.param(
            lambda: (
                LearnedForceField(GroupCNN(square(4), scalar(), channels=2, radii=(1.0, 1.0))).float()
                + ClassicalForceField(Holstein(square(4), k=1.0, kappa=0.2))
            ),
            id="convolutions and springs",
        ),
        pytest.param(
            lambda: LearnedForceField(
                SpinInvariants(square(4), spin(unit=False), 1.0, bond_cutoff=1.0), MLP((6, 6))
            ).double(),
            id="descriptor",
        ),
    ],
)
def test_a_program_gives_the_numbers_of_the_force_field(make, batch, tmp_path, rng):
    forcefield = make().eval()
    dtype = next(forcefield.parameters()).dtype
    path = export(forcefield, tmp_path / "model.pt2", batch=batch)
    program = torch.export.load(path).module()
    leading = () if batch is None else (batch,)
    for _ in range(3):
        shape = (*leading, forcefield.lattice.n_sites, forcefield.components)
        field = torch.randn(shape, generator=rng, dtype=torch.float64)
        field = (field / field.norm(dim=-1, keepdim=True) if forcefield.components == 3 else field).to(dtype)
        force, energy = forcefield(field)
        found = program(field)
        assert len(found) == 1 + (energy is not None) and found[0].dtype == dtype
        tolerance = {"rtol": 0, "atol": (1e-5 if dtype == torch.float32 else 1e-12) * float(force.abs().max())}
        torch.testing.assert_close(found[0], force, **tolerance)
        if energy is not None:
            torch.testing.assert_close(found[1], energy, rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=1e-12)


@pytest.mark.slow
def test_a_program_runs_where_nearsight_is_not_installed(tmp_path, rng):
    forcefield = messages("energy").double().eval()
    path = export(forcefield, tmp_path / "model.pt2")
    field = random_spins(CLOUD, rng)
    torch.save(field, tmp_path / "field.pt")
    code = (
        "import sys, json, torch\n"
        "program = torch.export.load(sys.argv[1]).module()\n"
        "force, energy = program(torch.load(sys.argv[2]))\n"
        "assert not [name for name in sys.modules if name.startswith('nearsight')]\n"
        "print(json.dumps(force.tolist()))\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(path), str(tmp_path / "field.pt")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    found = torch.tensor(json.loads(done.stdout), dtype=torch.float64)
    torch.testing.assert_close(found, forcefield(field).force, atol=1e-12, rtol=0)


def test_what_cannot_be_exported_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nothing learned to export"):
        export(ClassicalForceField(Heisenberg(square(3), J=1.0)), tmp_path / "a.pt2")
    with pytest.raises(TypeError, match="forcefield must be a ForceField"):
        export(MLP((3,)), tmp_path / "a.pt2")
    with pytest.raises(ValueError, match="batch"):
        export(messages("energy"), tmp_path / "a.pt2", batch=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")  # of torch
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("head", ["energy", "force"])
def test_a_program_is_compiled_ahead_of_time(head, tmp_path, rng):
    """As C++ would load it: a library without Python, with the same forces."""
    from torch._inductor import aoti_compile_and_package, aoti_load_package

    springs = ClassicalForceField(Holstein(square(6), k=1.0, kappa=0.2))
    network = GroupCNN(square(6), scalar(), channels=2, radii=(1.0, 1.0), head=head)
    forcefield = (LearnedForceField(network).double() + springs).eval()
    path = export(forcefield, tmp_path / "model.pt2", batch=2)
    compiled = aoti_compile_and_package(torch.export.load(path), package_path=str(tmp_path / "compiled.pt2"))
    field = torch.randn(2, 36, 1, generator=rng, dtype=torch.float64)
    found = aoti_load_package(compiled)(field)
    torch.testing.assert_close(found[0], forcefield(field).force, rtol=0, atol=1e-12)
