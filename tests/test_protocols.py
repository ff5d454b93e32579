"""Parameters that depend on time: their values, the forces they make, and runs that are cut while they last."""

import json
import math

import numpy as np
import pytest
import torch

from nearsight.dynamics import TDGL, Brownian, EulerMaruyama, Every, HopMonteCarlo, Langevin, SemiImplicit, simulate
from nearsight.fields import random_spins
from nearsight.forcefields import ExactForceField, FixedNumber, ForceField
from nearsight.hamiltonians import Holstein, SDModel
from nearsight.lattices import square
from nearsight.moves import LatticeGas
from nearsight.solvers import NEGF, Alternating, Protocol, Pulse, Ramp, RecursiveNEGF, Reservoir, Step, electrodes

BAR = square(4, 3, periodic=(False, True))
PROTOCOLS = [
    Step(2.0, start=1.0, before=0.5),
    Ramp(0.0, 3.0, start=0.5, stop=2.0),
    Pulse(2.5, start=0.3, stop=1.1),
    Alternating(1.5, period=0.8, phase=0.3),
    0.5 * Pulse(2.5, start=0.3, stop=1.1) - Alternating(0.2, period=0.5) + 1.0,
]
SCHEMES = [
    Brownian(dt=0.1, kT=0.1, damping=0.5),
    Langevin(dt=0.1, kT=0.1, damping=0.5),
    EulerMaruyama(dt=0.1, kT=0.1, damping=0.5),
    TDGL(dt=0.1, damping=0.5),
]


def bar(voltage: float | Protocol, kT: float | Protocol = 0.1, solver: type = NEGF) -> ExactForceField:
    reservoirs = electrodes(BAR, voltage=voltage, kT=kT)
    return ExactForceField(Holstein(BAR, g=1.5, k=1.0, kappa=0.18), solver(*reservoirs))


def charge_order(replicas: int = 2) -> torch.Tensor:
    noise = torch.randn(replicas, 12, 1, generator=generator(), dtype=torch.float64)
    return torch.from_numpy(1.5 * (-1.0) ** BAR.cells.sum(1))[:, None] + 0.3 * noise


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(4)


# --- values -----------------------------------------------------------------------------------------------------------


def test_protocols_have_the_values_of_their_names():
    assert [Step(2.0, start=1.0, before=0.5).at_time(t) for t in (-1.0, 0.99, 1.0, 5.0)] == [0.5, 0.5, 2.0, 2.0]
    assert [Ramp(1.0, 3.0, 2.0, 4.0).at_time(t) for t in (0.0, 2.0, 2.5, 4.0, 9.0)] == [1.0, 1.0, 1.5, 3.0, 3.0]
    assert [Pulse(2.0, 1.0, 3.0, -1.0).at_time(t) for t in (0.0, 1.0, 2.9, 3.0)] == [-1.0, 2.0, 2.0, -1.0]
    np.testing.assert_allclose([Alternating(2.0, 4.0).at_time(t) for t in (0, 1, 2, 3)], [0, 2, 0, -2], atol=1e-15)
    np.testing.assert_allclose(Alternating(2.0, 4.0, math.pi / 2).at_time(4.0), 2.0)


def test_protocols_add_up_like_the_functions_they_are():
    a, b = Ramp(0.0, 1.0, 0.0, 4.0), Alternating(2.0, 3.0)
    for t in (-1.0, 0.7, 2.2):
        x, y = a.at_time(t), b.at_time(t)
        for found, expected in (
            (a + b, x + y), (a - b, x - y), (1.0 - a, 1 - x), (-b, -y), (3 * (a + 2 * b) - 0.5, 3 * (x + 2 * y) - 0.5),
            (a + 2, x + 2), (2 + a, x + 2), (0.5 * a - 0.25 * (b + 1), x / 2 - (y + 1) / 4),
        ):  # fmt: skip
            assert found.at_time(t) == pytest.approx(expected, abs=1e-15)


def test_a_clock_that_adds_up_steps_does_not_miss_a_switch_by_its_rounding():
    t = 0.0
    for step in range(1, 4001):
        t += 0.1
        assert Pulse(1.0, 100.0, 400.0).at_time(t) == (1.0 if 1000 <= step < 4000 else 0.0)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=repr)
def test_protocols_and_what_holds_them_describe_themselves(protocol):
    assert Protocol.from_config(json.loads(json.dumps(protocol.config()))) == protocol
    solver = NEGF(*electrodes(BAR, voltage=protocol, kT=0.1))
    again = NEGF.from_config(json.loads(json.dumps(solver.config())))
    assert again.driven and again.config() == solver.config()
    for t in (0.0, 0.7):
        assert again.at_time(t).reservoirs[0].mu == -protocol.at_time(t) and not again.at_time(t).driven


# --- forces -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", [NEGF, RecursiveNEGF])
def test_forces_at_a_time_are_those_of_the_parameters_of_that_time(solver):
    voltage, kT = Ramp(0.0, 2.0, 0.0, 4.0), Step(0.2, start=2.0, before=0.1)
    driven, field = bar(voltage, kT, solver), charge_order()
    for t in (1.0, 3.0):
        expected = bar(voltage.at_time(t), kT.at_time(t), solver)(field)
        assert torch.equal(driven.at_time(t)(field).force, expected.force)
    assert driven.driven and not driven.at_time(1.0).driven and bar(2.0).at_time(1.0).solver.reservoirs[0].mu == -2.0


def test_what_does_not_depend_on_time_is_itself_at_any():
    static = bar(1.0)
    assert static.at_time(3.0) is static and not static.driven


def test_a_time_is_needed_where_parameters_depend_on_it():
    driven = bar(Step(1.0))
    with pytest.raises(ValueError, match="at_time"):
        driven(charge_order())
    with pytest.raises(ValueError, match="at_time"):
        driven.solver.steady_state(driven.model.matrix(charge_order()[0]))


def test_values_out_of_bounds_are_refused_when_their_time_comes():
    driven = bar(1.0, kT=Ramp(0.1, -0.1, 0.0, 1.0))
    driven.at_time(0.4)
    with pytest.raises(ValueError, match="kT of a reservoir"):
        driven.at_time(0.9)


# --- dynamics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: type(s).__name__)
def test_a_step_to_a_constant_voltage_has_the_bits_of_that_voltage(scheme):
    ends = [
        simulate(forces, scheme, charge_order(), steps=6, record=Every(1), rng=generator())
        for forces in (bar(2.0), bar(Step(2.0)))
    ]
    assert np.array_equal(*(end.data.field.values for end in ends))
    assert np.array_equal(*(end.data.force.values for end in ends))


def test_nothing_that_depends_on_time_has_an_energy():
    """Also while it is in equilibrium: records of a run hold the same things from its first step to its last."""
    run = simulate(bar(Pulse(2.0, 0.2, 0.4)), SCHEMES[0], charge_order(), steps=6, record=Every(1), rng=generator())
    assert "energy" not in run.data and run.final.forces.energy is None


@pytest.mark.parametrize(
    ("scheme", "voltage"),
    [(SCHEMES[0], voltage) for voltage in PROTOCOLS] + [(scheme, PROTOCOLS[2]) for scheme in SCHEMES[1:]],
    ids=repr,
)
def test_a_run_that_is_cut_inside_a_protocol_ends_with_the_same_bits(scheme, voltage, tmp_path):
    """From its folder and from its state; after 7 of 14 steps every protocol is at work."""

    def run(steps, path, field=None, rng=None):
        return simulate(
            bar(voltage), scheme, charge_order() if field is None else field, steps=steps, record=Every(1),
            rng=rng or generator(), path=tmp_path / path, resume=True,
        )  # fmt: skip

    through = run(14, "through")
    run(7, "cut")
    resumed = run(14, "cut")
    assert np.array_equal(through.data.field.values, resumed.data.field.values)
    assert np.array_equal(through.data.force.values, resumed.data.force.values)
    chance = generator()
    middle = run(7, "first", rng=chance).final
    late = run(14, "second", field=middle, rng=chance)
    assert torch.equal(late.final.field, through.final.field) and late.final.time == through.final.time
    assert torch.equal(late.final.forces.force, through.final.forces.force)


def test_a_run_under_another_protocol_is_refused(tmp_path):
    for voltage in (2.0, 2.1):
        arguments = {"steps": 2, "record": None, "rng": generator(), "path": tmp_path / "run", "resume": True}
        if voltage == 2.0:
            simulate(bar(Step(voltage)), SCHEMES[0], charge_order(), **arguments)
        else:
            with pytest.raises(ValueError, match="started with something else"):
                simulate(bar(Step(voltage)), SCHEMES[0], charge_order(), **arguments)


@pytest.mark.parametrize(("scheme", "order"), [(EulerMaruyama, 1), (TDGL, 2)])
def test_the_order_of_a_scheme_is_that_in_a_static_field(scheme, order):
    """Forces at the end of a step are those at its end in time: error ~ dt to the order, under an AC voltage."""
    forces = bar(Alternating(2.0, period=1.6))

    def end(steps):
        made = scheme(dt=0.8 / steps, kT=0.0) if scheme is EulerMaruyama else scheme(dt=0.8 / steps)
        return simulate(forces, made, charge_order(1), steps=steps, record=None, rng=None).final.field

    fine = end(256)
    errors = [float((end(n) - fine).norm()) for n in (8, 16)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2)


def test_a_scheme_that_does_not_tell_the_time_is_refused():
    lattice = square(2, 2, periodic=False)
    leads = [Reservoir([k], 1.0, Step(mu), 0.1) for k, mu in enumerate((0.0, 0.5, 0.2, 0.1))]
    magnet = ExactForceField(SDModel(lattice, J=1.0), NEGF(*leads, orbitals=2))
    with pytest.raises(ValueError, match="depend on time"):
        simulate(
            magnet, SemiImplicit(0.1, 0.1, 0.1), random_spins(lattice, rng=generator()), steps=1, record=None, rng=None
        )
    gas = HopMonteCarlo(LatticeGas(BAR, J=1.0), kT=1.0)
    particles = (torch.arange(12.0)[:, None] % 2).double()
    with pytest.raises(ValueError, match="at_time"):
        simulate(bar(Step(1.0)), gas, particles, steps=1, record=None, rng=generator())


def test_parts_of_a_force_field_follow_the_time_together():
    whole: ForceField = FixedNumber(bar(Step(1.0, start=1.0)).electrons, 0.1) + bar(0.0).classical
    assert whole.driven and not whole.at_time(0.0).driven
    field = charge_order()
    expected = FixedNumber(bar(1.0).electrons, 0.1) + bar(0.0).classical
    torch.testing.assert_close(whole.at_time(1.0)(field).force, expected(field).force, atol=1e-12, rtol=0)
