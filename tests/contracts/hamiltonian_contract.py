"""What every model must satisfy. A member signs by one line in ``HAMILTONIANS``."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from nearsight.fields import FieldType
from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import (
    RKKY,
    BlumeCapel,
    EdwardsAnderson,
    Exponential,
    FalicovKimball,
    Hamiltonian,
    Heisenberg,
    Holstein,
    Ising,
    JahnTeller,
    Peierls,
    Potts,
    SDModel,
    TileModel,
)
from nearsight.lattices import (
    PointCloud,
    chain,
    cubic,
    honeycomb,
    kagome,
    site_group,
    site_permutations,
    square,
    torus_group,
    triangular,
)
from nearsight.solvers import Dense

CLOUD = PointCloud([[0.1, 0.0, 0.3], [1.0, 0.6, 0.4], [0.2, 1.4, 1.0], [1.5, 1.5, 0.1]], cell=2.0)
OPEN_CLOUD = PointCloud([[0.0, 0.0], [1.1, 0.2], [0.4, 0.9], [1.3, 1.4], [2.0, 0.5]])

HAMILTONIANS = [
    pytest.param(SDModel(CLOUD, t=Exponential(-1.0, 0.8, cutoff=1.9), J=1.3), id="s-d on a cloud"),
    pytest.param(SDModel(CLOUD, t=Exponential(-1.0)), id="s-d on a cloud, nearest images"),
    pytest.param(
        SDModel(OPEN_CLOUD, t=Exponential(-1.0, 0.7), J=2.0, exchange=RKKY(0.3, 1.5), K=0.1, B=0.2),
        id="s-d on an open cloud",
    ),
    pytest.param(SDModel(square(4), t=Exponential(1.0, 0.5, cutoff=2.1), J=1.3), id="s-d, hopping by distance"),
    pytest.param(
        SDModel(CLOUD, t=Exponential(cutoff=1.5), J=1.3, twist=(np.pi, 0, np.pi)), id="s-d on an antiperiodic cloud"
    ),
    pytest.param(Heisenberg(CLOUD, J=RKKY(1.0, 2.0, cutoff=1.9), B=0.1), id="heisenberg on a cloud"),
    pytest.param(Heisenberg(square(4), J=(1.0, -0.3)), id="heisenberg"),
    pytest.param(Heisenberg(kagome(2), J=-1.0, K=0.4, axis=(1, 1, 0), B=(0.1, 0.2, 0.3)), id="heisenberg in a field"),
    pytest.param(Heisenberg(triangular(3), D=0.7, K=-0.2), id="heisenberg, bulk DM"),
    pytest.param(Heisenberg(honeycomb(2), D=0.7, dm="interfacial"), id="heisenberg, interfacial DM"),
    pytest.param(Holstein(square(4)), id="holstein"),
    pytest.param(Holstein(square(5), g=0.8, kappa=-0.1, spins=2, symmetric=False), id="holstein with spin"),
    pytest.param(Holstein(square(4), twist=(np.pi, np.pi)), id="holstein antiperiodic"),
    pytest.param(Holstein(square(2)), id="holstein on the smallest torus"),
    pytest.param(Holstein(triangular(4), t=(1.0, 0.3, -0.1)), id="holstein, three shells"),
    pytest.param(Holstein(chain(6)), id="holstein chain"),
    pytest.param(JahnTeller(square(4)), id="jahn-teller"),
    pytest.param(JahnTeller(square(2), symmetric=True), id="jahn-teller on the smallest torus"),
    pytest.param(JahnTeller(square(3), twist=(np.pi, np.pi)), id="jahn-teller antiperiodic"),
    pytest.param(
        JahnTeller(square(4), kappa=((0.2, 0.1, -0.1), (0.1, 0.3, 0.2), (-0.1, 0.2, 0.1))), id="jahn-teller, springs"
    ),
    pytest.param(SDModel(square(3), J=1.3), id="s-d"),
    pytest.param(SDModel(square(2), t=(1.0, 0.4), exchange=0.3, twist=(np.pi, np.pi)), id="s-d on the smallest torus"),
    pytest.param(
        SDModel(triangular(3), t=(1.0, 0.0, -0.85), J=1.0, pauli=False, K=0.2, B=0.005),
        id="s-d, triangular, in a field",
    ),
    pytest.param(SDModel(kagome(2), t=0.0, k=0.5, unit=False), id="s-d without hopping"),
    pytest.param(FalicovKimball(square(4)), id="falicov-kimball"),
    pytest.param(FalicovKimball(triangular(4), t=(1.0, -0.4), U=-3.0, spins=2), id="falicov-kimball, two shells"),
    pytest.param(FalicovKimball(square(3), twist=(np.pi, np.pi)), id="falicov-kimball antiperiodic"),
    pytest.param(FalicovKimball(square(2)), id="falicov-kimball on the smallest torus"),
    pytest.param(Peierls(square(4)), id="peierls"),
    pytest.param(Peierls(square(3), spins=2, twist=(np.pi, np.pi)), id="peierls antiperiodic, with spin"),
    pytest.param(Peierls(square(2)), id="peierls on the smallest torus"),
    pytest.param(Peierls(triangular(3), t=1.0, t2=0.0, kappa=-0.5), id="peierls, triangular"),
    pytest.param(Peierls(chain(6)), id="peierls chain"),
    pytest.param(Peierls(chain(7), twist=0.7), id="peierls with a persistent current"),
    pytest.param(Peierls(chain(2)), id="peierls with two bonds on one pair"),
    pytest.param(Ising(square(4), J=(1.0, -0.4), h=0.3), id="ising with two shells in a field"),
    pytest.param(Ising(square(2)), id="ising on the smallest torus"),
    pytest.param(Ising(square(3, 1)), id="ising, sites bound to themselves"),
    pytest.param(Ising(kagome(2), J=-1.0), id="ising, kagome"),
    pytest.param(EdwardsAnderson(cubic(3), seed=1), id="edwards-anderson"),
    pytest.param(EdwardsAnderson(square(4), distribution="+-J", J=0.5, seed=2), id="edwards-anderson, two signs"),
    pytest.param(Potts(triangular(3), 3), id="potts"),
    pytest.param(Potts(honeycomb(2), 5, J=(0.5, 0.2), kind="clock"), id="clock"),
    pytest.param(BlumeCapel(square(4), J=0.8, D=1.5), id="blume-capel"),
    pytest.param(BlumeCapel(chain(5), D=-0.5, h=0.2), id="blume-capel in a field"),
    pytest.param(
        TileModel.from_couplings(square(4), {((0, 0), (0, 1)): 1.0, ((0, 0), (0, 1), (1, 0), (1, 1)): 0.3}),
        id="tiles of 4 × 4 spins",
    ),
    pytest.param(
        TileModel.from_couplings(
            triangular(3), {((0, 0), (0, 1)): -1.0, ((0, 0), (0, 1), (1, 0)): 0.5}, shape=(3, 3), stride=(1, 1)
        ),
        id="tiles of a triangular lattice",
    ),
    pytest.param(
        TileModel.from_couplings(square(4), {((0, 0), (0, 1)): np.eye(3)}, shape=(2, 2), stride=(1, 1), n_states=3),
        id="tiles of three states",
    ),
    pytest.param(TileModel(chain(4), np.arange(16.0) ** 0.5, shape=(4,), stride=(2,)), id="tiles without symmetry"),
]
model = pytest.mark.parametrize("model", HAMILTONIANS)
symmetric = pytest.mark.parametrize("model", [p for p in HAMILTONIANS if not getattr(p.values[0], "disordered", False)])
electrons = pytest.mark.parametrize("model", [p for p in HAMILTONIANS if p.values[0].orbitals])


def random_field(model: Hamiltonian, rng: torch.Generator, *batch: int) -> Tensor:
    shape = (*batch, model.lattice.n_sites, model.components)
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def images(model: Hamiltonian, field: Tensor) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Where every site goes, and gΦ, for every operation about a site and for every translation."""
    group, torus = site_group(model.lattice), torus_group(model.lattice)
    for element, permutation in zip(group.indices(torus), site_permutations(model.lattice, torus), strict=True):
        yield permutation, model.field_type.transform(field, group, element, permutation)
    for offset in range(1, model.lattice.n_cells):
        step = model.lattice.cells[offset * model.lattice.n_basis]
        permutation = model.lattice.index(model.lattice.cells + step, model.lattice.sublattice)
        yield permutation, FieldType("copy", ("trivial",) * model.components).transform(field, group, 0, permutation)


@model
def test_matrix_is_hermitian(model, rng):
    h = model.matrix(random_field(model, rng, 3))
    assert torch.equal(h, h.mH)


@model
def test_a_model_travels_to_other_processes_without_its_dense_matrices(model, rng):
    field = random_field(model, rng)
    h = model.matrix(field)
    twin = pickle.loads(pickle.dumps(model))
    assert "constant" not in vars(twin) or "constant" not in type(model).__dict__
    assert torch.equal(twin.matrix(field), h)


@model
def test_the_size_of_the_matrix_is_known_without_it(model):
    fresh = type(model).from_config(model.config())
    assert fresh.orbitals == model.constant.shape[-1]
    if "constant" in vars(type(model)):  # built when first asked for
        assert "constant" not in vars(fresh)


@model
def test_model_vouches_for_itself(model, rng):
    model.check(rng)


@symmetric
def test_energies_are_those_of_the_moved_field(model, rng):
    field = random_field(model, rng)
    spectrum = torch.linalg.eigvalsh(model.matrix(field))
    background, classical = model.background_energy(field), model.classical_energy(field)
    for _, moved in images(model, field):
        torch.testing.assert_close(torch.linalg.eigvalsh(model.matrix(moved)), spectrum, atol=1e-12, rtol=0)
        torch.testing.assert_close(model.background_energy(moved), background, atol=1e-12, rtol=0)
        torch.testing.assert_close(model.classical_energy(moved), classical, atol=1e-12, rtol=0)


@electrons
def test_matrix_of_the_moved_field_is_the_moved_matrix(model, rng):
    """h(gΦ) = P h(Φ) P†; with a twist |h|, because a bond moved off the boundary loses its phase to the basis."""
    if model.orbitals != model.lattice.n_sites:
        pytest.skip("P of a model with several orbitals per site is its own; the spectrum is tested above")
    field = random_field(model, rng)
    compare = torch.abs if getattr(model, "twist", None) else torch.clone
    h = compare(model.matrix(field))
    for permutation, moved in images(model, field):
        where = torch.from_numpy(np.asarray(permutation))
        torch.testing.assert_close(compare(model.matrix(moved))[where][:, where], h, atol=1e-14, rtol=0)


@electrons
def test_coupling_is_the_field_dependent_part_at_its_positions(model, rng):
    field = random_field(model, rng)
    dense = torch.zeros_like(model.constant)
    for row, column, value in zip(model.rows, model.columns, model.coupling(field), strict=True):
        dense[row, column] += value
    torch.testing.assert_close(model.matrix(field), model.constant + dense, atol=1e-14, rtol=0)


@model
def test_the_listed_elements_are_those_of_the_matrix(model, rng):
    field = random_field(model, rng, 2)
    (rows, columns), values = model.positions, model.elements(field)
    listed = torch.zeros_like(model.matrix(field))
    listed = listed.flatten(-2).index_add(-1, rows * model.orbitals + columns, values).reshape(listed.shape)
    torch.testing.assert_close(listed, model.matrix(field), atol=1e-14, rtol=0)
    assert model.cuts.shape == (model.lattice.dim, model.orbitals)


@model
def test_coupling_and_energies_are_differentiable(model, rng):
    field = random_field(model, rng).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: torch.view_as_real(model.coupling(x) + 0j), field)
    assert torch.autograd.gradcheck(model.background_energy, field)
    assert torch.autograd.gradcheck(model.classical_energy, field)


@electrons
@pytest.mark.parametrize("fixed", [{"filling": 0.4}, {"mu": 0.1}], ids=["fixed number", "fixed mu"])
def test_force_from_the_coupled_elements_is_the_full_trace(model, fixed, rng):
    """-Tr(ρ ∂h/∂Φ) with the dense matrix and the full ρ, against the elements the model lists."""
    solver = Dense(kT=0.1, **fixed)
    field = random_field(model, rng).requires_grad_()
    h = model.matrix(field)
    n = model.orbitals
    rows, columns = (index.reshape(-1) for index in torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij"))
    rho = solver.solve(h.detach(), rows, columns).rho.reshape(n, n)
    energy = model.degeneracy * (h * rho.mT).sum().real + model.background_energy(field)
    (gradient,) = torch.autograd.grad(energy, field)
    force = ExactForceField(model, solver).electrons(field.detach()).force
    torch.testing.assert_close(force, -gradient, atol=1e-12, rtol=0)


@model
def test_the_same_model_on_another_lattice_is_a_fresh_one(model, rng):
    lattice = model.lattice.resized(*(n + 2 for n in model.lattice.shape))
    there = model.on(lattice)
    assert there.lattice is lattice and type(there) is type(model)
    back = there.on(model.lattice)
    field = random_field(model, rng)
    assert torch.equal(back.matrix(field), model.matrix(field))
    assert torch.equal(back.classical_energy(field), model.classical_energy(field))
    assert torch.equal(back.background_energy(field), model.background_energy(field))
    assert back.degeneracy == model.degeneracy


@model
def test_batch_dimensions_come_first(model, rng):
    field = random_field(model, rng, 2, 3)
    h, coupling = model.matrix(field), model.coupling(field)
    assert h.shape == (2, 3, model.orbitals, model.orbitals)
    for i in range(2):
        for j in range(3):
            assert torch.equal(h[i, j], model.matrix(field[i, j]))
            assert torch.equal(coupling[i, j], model.coupling(field[i, j]))
            for energy in (model.background_energy, model.classical_energy):
                torch.testing.assert_close(energy(field)[i, j], energy(field[i, j]), atol=1e-13, rtol=0)


@electrons
def test_matrix_is_double_whatever_the_precision_of_the_field(model, rng):
    field = random_field(model, rng)
    assert model.matrix(field.float()).dtype == model.constant.dtype in (torch.float64, torch.complex128)


@electrons
def test_bad_fields_are_refused_with_their_cure(model, rng):
    field = random_field(model, rng)
    with pytest.raises(ValueError, match="has shape"):
        model.matrix(field[:-1])
    with pytest.raises(TypeError, match=r"\.double\(\)"):
        model.matrix(field.long())
    with pytest.raises(TypeError, match=r"torch\.as_tensor"):
        model.matrix(field.numpy())
    field[0, 0] = torch.nan
    with pytest.raises(ValueError, match="1 NaN"):
        model.matrix(field)


@model
def test_a_model_is_what_its_constructor_was_given(model, rng):
    again = Hamiltonian.from_config(json.loads(json.dumps(model.config())))
    assert type(again) is type(model) and repr(again) == repr(model) and again.config() == model.config()
    field = random_field(model, rng)
    torch.testing.assert_close(again.classical_energy(field), model.classical_energy(field), rtol=0, atol=0)
    if model.orbitals:
        torch.testing.assert_close(again.matrix(field), model.matrix(field), rtol=0, atol=0)
