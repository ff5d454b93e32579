"""Fields of classical spins in closed form and compiled steps, against autograd and the schemes as they are written."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from nearsight.dynamics import AB2Rotation, DepondtMertens, Every, HeunSpins, OutOfRangeError, SemiImplicit, simulate
from nearsight.dynamics._noise import EDGES, STRIDE, _mixed, fill_normals
from nearsight.dynamics._spin_steps import tables_of
from nearsight.fields import random_spins
from nearsight.forcefields import ClassicalForceField
from nearsight.hamiltonians import Exponential, Heisenberg
from nearsight.lattices import PointCloud, chain, cubic, square, triangular


class Differentiated(Heisenberg):
    """The same model, its fields from the energy by autograd and its steps as the schemes are written."""

    spin_tables = None


CLOUD = PointCloud(np.random.default_rng(0).random((14, 3)) * 3, 3 * np.eye(3))
TERMS = {
    "chain": (chain(6), {}),
    "pairs listed twice": (square(2, 3), {"J": 0.7, "D": 0.3}),
    "one site around": (square(1, 4), {"J": -0.7, "B": 0.2}),
    "open": (square(4, periodic=False), {"J": (1.0, -0.4), "B": (0.1, -0.2, 0.3)}),
    "Bloch": (triangular(4), {"J": 1.1, "D": 0.6, "K": 0.3, "B": 0.2}),
    "Néel": (triangular(3), {"D": 0.6, "dm": "interfacial", "K": -0.4, "axis": (1.0, 2.0, -0.5)}),
    "no exchange": (square(3), {"J": 0.0, "D": 0.5}),
    "cubic": (cubic(3), {"J": (1.0, 0.2), "K": 0.5, "axis": (1.0, 1.0, 0.0)}),
    "cloud": (CLOUD, {"J": Exponential(1.3, length=0.4, cutoff=1.4)}),
}
every_model = pytest.mark.parametrize("terms", TERMS)


def field_of(name: str, *batch: int) -> torch.Tensor:
    return random_spins(TERMS[name][0], torch.Generator().manual_seed(3), *batch).double()


def forces(kind: type[Heisenberg], name: str) -> ClassicalForceField:
    lattice, terms = TERMS[name]
    return ClassicalForceField(kind(lattice, **terms))


@every_model
def test_fields_are_minus_the_slope_of_the_energy(terms):
    model, spins = Heisenberg(TERMS[terms][0], **TERMS[terms][1]), 0.7 * field_of(terms)
    force, energy = ClassicalForceField(model)(spins)
    assert float(energy) == pytest.approx(float(model.classical_energy(spins)), rel=1e-12, abs=1e-12)
    h = 1e-3
    slope = torch.empty_like(spins)
    for site, component in np.ndindex(*spins.shape):
        step = torch.zeros_like(spins)
        step[site, component] = h
        # The energy is of second order in every spin: the difference has no error but rounding.
        slope[site, component] = (model.classical_energy(spins + step) - model.classical_energy(spins - step)) / (2 * h)
    torch.testing.assert_close(force, -slope, rtol=1e-9, atol=1e-9)


@every_model
def test_fields_are_those_of_autograd_in_any_batch_and_precision(terms):
    spins = field_of(terms, 2, 3)
    for dtype, rtol in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        found, expected = (forces(kind, terms)(spins.to(dtype)) for kind in (Heisenberg, Differentiated))
        assert found.force.dtype == found.energy.dtype == dtype and found.energy.shape == (2, 3)
        torch.testing.assert_close(found.force, expected.force, rtol=rtol, atol=rtol)
        torch.testing.assert_close(found.energy, expected.energy, rtol=rtol, atol=20 * rtol)
    leaf = spins.clone().requires_grad_()
    force = forces(Heisenberg, terms)(leaf).force
    (second,) = torch.autograd.grad(force.square().sum(), leaf)  # with a graph where one is asked for
    assert torch.isfinite(second).all()


SCHEMES = {
    "SIB": lambda **o: SemiImplicit(0.05, **o),
    "AB2": lambda **o: AB2Rotation(0.05, **o),
    "Heun": lambda **o: HeunSpins(0.05, **o),
}


@pytest.mark.parametrize("tangent", [False, True])
@pytest.mark.parametrize(("kT", "damping"), [(0.0, 0.0), (0.0, 0.3), (0.2, 0.3)])
@pytest.mark.parametrize("name", SCHEMES)
def test_compiled_steps_are_the_scheme(name, kT, damping, tangent):
    scheme = SCHEMES[name](kT=kT, damping=damping, tangent=tangent)
    for terms in ("Bloch", "cubic"):
        ends = []
        for kind in (Heisenberg, Differentiated):
            rng, physics = torch.Generator().manual_seed(5), forces(kind, terms)
            assert (tables_of(physics, field_of(terms)) is not None) == (kind is Heisenberg)
            state = scheme.start(field_of(terms, 2), physics, rng)
            for _ in range(20):
                state = scheme.step(state, physics, rng)
            ends.append((state, rng.get_state()))
        (found, used), (expected, drawn) = ends
        torch.testing.assert_close(found.field, expected.field, rtol=0, atol=1e-12)
        torch.testing.assert_close(found.forces.energy, expected.forces.energy, rtol=1e-11, atol=1e-11)
        assert torch.equal(used, drawn) and found.time == expected.time and found.step == 20
        if found.history is not None:
            torch.testing.assert_close(found.history, expected.history, rtol=0, atol=1e-11)
        assert float((found.field.norm(dim=-1) - 1).abs().max()) < 1e-14


@pytest.mark.parametrize("name", SCHEMES)
def test_forces_after_a_compiled_step_are_those_of_its_field(name):
    for dtype in (torch.float32, torch.float64):
        scheme, physics = SCHEMES[name](kT=0.1, damping=0.2), forces(Heisenberg, "Néel")
        rng = torch.Generator().manual_seed(1)
        state = scheme.start(field_of("Néel", 2).to(dtype), physics, rng)
        given = state.field.clone()
        for _ in range(3):
            new = scheme.step(state, physics, rng)
        assert torch.equal(state.field, given)
        force, energy = physics(new.field)
        assert torch.equal(new.forces.force, force) and torch.equal(new.forces.energy, energy)
        assert new.field.dtype == dtype


@pytest.mark.parametrize("name", SCHEMES)
def test_runs_of_compiled_steps_are_cut_and_taken_up_bit_for_bit(name, tmp_path):
    scheme, physics, start = SCHEMES[name](kT=0.1, damping=0.2), forces(Heisenberg, "Bloch"), field_of("Bloch", 2)
    options = {"record": Every(5)}
    whole = simulate(physics, scheme, start, steps=20, rng=torch.Generator().manual_seed(7), **options)
    for steps in (10, 20):
        rng = torch.Generator().manual_seed(7)
        part = simulate(physics, scheme, start, steps=steps, rng=rng, path=tmp_path, resume=True, **options)
    assert torch.equal(part.final.field, whole.final.field) and part.data.equals(whole.data)


def test_other_schemes_and_other_force_fields_take_the_steps_as_written():
    physics = forces(Heisenberg, "Bloch")
    assert tables_of(physics + physics, field_of("Bloch")) is None
    rng = torch.Generator().manual_seed(1)
    run = simulate(physics, DepondtMertens(0.05, kT=0.1, damping=0.2), field_of("Bloch"), steps=5, record=None, rng=rng)
    assert torch.isfinite(run.final.field).all()


def test_a_compiled_run_that_loses_its_numbers_is_stopped():
    model = Heisenberg(square(4), J=1e100)
    scheme = HeunSpins(1e100, kT=0.0, damping=1.0)
    field = random_spins(square(4), torch.Generator().manual_seed(1)).double()
    with pytest.warns(UserWarning), pytest.raises(OutOfRangeError):
        simulate(ClassicalForceField(model), scheme, field, steps=50, record=None, rng=None)


# --- noise ----------------------------------------------------------------------------------------------------------


def normals(key: int, number: int, dtype=np.float64) -> np.ndarray:
    numbers = np.empty(number, dtype)
    fill_normals(key, 1.0, numbers)
    return numbers


def test_words_are_those_of_the_reference_generator():
    found = [int(_mixed(np.uint64((1234567 + k * int(STRIDE)) % 2**64))) for k in (1, 2, 3)]
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_numbers_are_normal_and_so_are_their_tails():
    x = normals(5, 4 * 10**6)
    assert stats.kstest(x[: 10**6], "norm").pvalue > 1e-3
    edge = np.sort(EDGES)[-2]  # beyond it the ziggurat draws in another way
    tail = np.abs(x[np.abs(x) > edge])
    expected = 2 * stats.norm.sf(edge) * len(x)
    assert abs(len(tail) - expected) < 4 * math.sqrt(expected)
    assert stats.kstest(tail, lambda y: 1 - stats.norm.sf(y) / stats.norm.sf(edge)).pvalue > 1e-3


def test_numbers_of_sites_and_of_steps_are_independent():
    steps = np.array([normals(key, 3000) for key in range(400)])
    n = steps.size
    for a, b in ((steps[:, 1:], steps[:, :-1]), (steps[:, 3:], steps[:, :-3]), (steps[1:], steps[:-1])):
        for power in (1, 2):
            x, y = a**power - (power == 2), b**power - (power == 2)
            assert abs((x * y).mean()) < 4 * (1 if power == 1 else 2) / math.sqrt(n)
    assert stats.kstest(steps.sum(0) / 20, "norm").pvalue > 1e-3
    assert stats.kstest(steps.sum(1) / math.sqrt(3000), "norm").pvalue > 1e-3


def test_the_number_of_a_site_depends_on_no_other_site():
    assert np.array_equal(normals(9, 50), normals(9, 5000)[:50])
    assert np.array_equal(normals(9, 5000, np.float32), normals(9, 5000).astype(np.float32))
    assert not np.array_equal(normals(9, 50), normals(10, 50))
