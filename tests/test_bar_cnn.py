"""Networks for bars between two leads: their symmetry, what they see, and the force fields made of them."""

import math

import numpy as np
import pytest
import torch

from nearsight.dynamics import Brownian, Every, simulate
from nearsight.forcefields import Biased, LearnedForceField, load, save
from nearsight.lattices import Lattice, square
from nearsight.networks import BarCNN
from nearsight.solvers import Pulse

BAR = square(7, 4, periodic=(False, True))
SMALL = {"channels": 2, "radii": (1.5,), "radii_after": (1.1,), "signals": 2}
HEADS = pytest.mark.parametrize("head", ["energy", "force"])


def learned(lattice: Lattice = BAR, **options) -> LearnedForceField:
    network = BarCNN(lattice, **(SMALL | options), rng=torch.Generator().manual_seed(2))
    with torch.no_grad():  # channels of an untrained network are nearly closed
        network.opacity_bias.fill_(-3.0)
    return LearnedForceField(network).double().eval()


def fields(rng: torch.Generator, *batch: int, lattice: Lattice = BAR) -> torch.Tensor:
    return 1.5 * torch.randn(*batch, lattice.n_sites, 1, generator=rng, dtype=torch.float64)


def moved(lattice: Lattice, x: int = 1, y: int = 1, shift: int = 0) -> np.ndarray:
    """Where the value of every site comes from after reflections along and across the bar, and a shift across."""
    cells = lattice.cells.copy()
    if x < 0:
        cells[:, 0] = lattice.shape[0] - 1 - cells[:, 0]
    cells[:, 1] = y * cells[:, 1] - shift
    return lattice.index(cells % np.array(lattice.shape), lattice.sublattice)


@HEADS
def test_forces_commute_with_reflections_and_translations_across_and_with_nothing_else(head, rng):
    biased, field = Biased(learned(head=head), 2.3), fields(rng, 3)
    force, energy = biased(field)
    for y in (1, -1):
        for shift in range(4):
            there = moved(BAR, y=y, shift=shift)
            again = biased(field[:, there])
            torch.testing.assert_close(again.force, force[:, there], atol=1e-13, rtol=0)
            if energy is not None:
                torch.testing.assert_close(again.energy, energy, atol=1e-12, rtol=0)
    back = moved(BAR, x=-1)
    assert float((biased(field[:, back]).force - force[:, back]).abs().max()) > 1e-3  # the leads differ


def test_the_force_of_an_energy_is_minus_its_gradient_and_nothing_pulls_at_the_voltage(rng):
    whole, field = learned(head="energy"), fields(rng)
    biased = Biased(whole, 2.3)
    force, energy = biased(field)
    kicks = 1e-3 * torch.eye(28, dtype=torch.float64)[..., None]
    up, down, far_up, far_down = (biased(field + m * kicks).energy for m in (1, -1, 2, -2))
    gradient = (8 * (up - down) - (far_up - far_down)) / 12e-3
    torch.testing.assert_close(force[:, 0], -gradient, atol=1e-8, rtol=0)
    both = torch.cat([field, torch.full_like(field, 2.3)], -1)
    assert torch.equal(whole(both).force[:, 1], torch.zeros(28).double()) and energy == whole(both).energy


@pytest.mark.parametrize("signals", [0, 2])
def test_a_far_layer_matters_by_what_it_lets_through_and_only_by_that(signals, rng):
    """Forces beyond the reach of all layers change with a wall near the lead exactly if connections are followed."""
    long = square(16, 4, periodic=(False, True))
    biased, field = Biased(learned(long, head="force", signals=signals), 2.3), fields(rng, lattice=long)
    wall = field.clone()
    wall[torch.from_numpy(long.cells[:, 0] < 2)] += 2.0
    change = (biased(wall).force - biased(field).force).reshape(16, 4).abs().amax(1)
    reach = biased.whole.reach[0]
    assert reach == 2 and float(change[:2].max()) > 1e-3
    if signals:
        assert float(change[2 + reach :].min()) > 1e-9
    else:
        assert float(change[2 + reach :].max()) == 0.0


def test_connections_are_products_of_transmissions_along_the_bar():
    network = learned().model
    h = torch.randn(1, 4, 1, 1, dtype=torch.float64).expand(1, 4, 7, 4)  # the same on every site
    v = torch.full((1, 1, 7, 4), 1.5, dtype=torch.float64)
    with torch.no_grad():
        left, right, part, driven = network._connections(h, v)
        a = torch.nn.functional.softplus(network.opacity @ h.unflatten(1, (2, 2)).mean(2)[0, :, 0, 0] - 3.0)
        b = torch.nn.functional.softplus(network.bath)
    for x in range(7):
        l, r = torch.exp(-(x + 1) * a), torch.exp(-(7 - x) * a)
        torch.testing.assert_close(left[0, :, x, 2], l)
        torch.testing.assert_close(right[0, :, x, 0], r)
        torch.testing.assert_close(part[0, :, x, 1], l / (l + r + b))
    torch.testing.assert_close(driven, part * 0.5)


def test_a_hole_in_a_wall_lets_through_a_part():
    """Of a wall across all rows but one, a quarter and less arrives behind it, and it spreads over all rows."""
    network = learned(signals=1).model
    with torch.no_grad():
        network.opacity.zero_()[0, 0] = 1.0
        network.opacity_bias.fill_(-10.0)
    h = torch.zeros(1, 4, 7, 4, dtype=torch.float64)
    h[:, :2, 3] = 30.0
    h[:, :2, 3, 1] = 0.0
    with torch.no_grad():
        left = network._connections(h, h[:, :1])[0][0, 0]
    assert float(left[2].min()) > 0.99 and float(left[3, 1]) > 0.99 and float(left[3, [0, 2, 3]].max()) < 1e-6
    torch.testing.assert_close(left[6], torch.full((4,), 0.25).double(), atol=0.07, rtol=0)


def test_what_vanishes_in_equilibrium_does_and_is_odd_to_first_order(rng):
    whole, field = learned(head="force", vanishes=True), fields(rng)
    assert torch.equal(Biased(whole, 0.0)(field).force, torch.zeros_like(field))
    up, down = (Biased(whole, V)(field).force for V in (1e-4, -1e-4))
    torch.testing.assert_close(up, -down, atol=1e-6, rtol=0)
    assert float(up.abs().max()) > 1e-6


@HEADS
def test_one_network_serves_bars_of_all_sizes(head, rng):
    there = square(11, 6, periodic=(False, True))
    biased = Biased(learned(head=head), 2.0)
    larger = biased.on(there)
    assert [id(p) for p in larger.parameters()] == [id(p) for p in biased.parameters()]
    assert larger(fields(rng, 2, lattice=there)).force.shape == (2, 66, 1)
    # Rows that repeat with the period of a narrow bar have its forces.
    field = fields(rng, lattice=BAR)
    wide = square(7, 8, periodic=(False, True))
    twice = field.reshape(7, 4).repeat(1, 2).reshape(-1, 1)
    force = biased.on(wide)(twice).force.reshape(7, 8)
    torch.testing.assert_close(force[:, :4].reshape(-1, 1), biased(field).force, atol=1e-12, rtol=0)


@HEADS
def test_a_batch_equals_a_loop_and_single_precision_is_near(head, rng):
    biased, field = Biased(learned(head=head), 2.0), fields(rng, 2, 3)
    force, energy = biased(field)
    for i in range(2):
        for j in range(3):
            single = biased(field[i, j])
            torch.testing.assert_close(force[i, j], single.force, atol=1e-12, rtol=0)
            if energy is not None:
                torch.testing.assert_close(energy[i, j], single.energy, atol=1e-12, rtol=0)
    assert float((biased.float()(field.float()).force - force).abs().max()) < 1e-4


@HEADS
def test_models_on_disk_are_the_same(head, rng, tmp_path):
    whole, field = learned(head=head), fields(rng)
    save(whole, tmp_path / "model")
    again = load(tmp_path / "model")
    assert torch.equal(Biased(again, 2.0)(field).force, Biased(whole, 2.0)(field).force)


WARM = {"temperatures": (0.02, 0.15)}


@HEADS
def test_forces_depend_on_the_temperature_and_nothing_pulls_at_it(head, rng):
    whole, field = learned(head=head, **WARM), fields(rng, 3)
    cold, hot = (Biased(whole, 2.3, kT=kT)(field).force for kT in (0.02, 0.15))
    assert cold.shape == field.shape and float((hot - cold).abs().max()) > 1e-4
    driven = torch.cat([field, torch.full_like(field, 2.3), torch.full_like(field, 0.02)], -1)
    assert torch.equal(whole(driven).force, torch.cat([cold, torch.zeros_like(field), torch.zeros_like(field)], -1))


def test_a_network_sees_the_temperature_on_the_scale_of_its_interval(rng):
    """The same weights, with kT and interval both doubled."""
    field = fields(rng)
    once, twice = (Biased(learned(temperatures=(s * 0.02, s * 0.15)), 2.3, kT=s * 0.07)(field) for s in (1, 2))
    torch.testing.assert_close(once.force, twice.force, atol=1e-12, rtol=0)


def test_forces_at_a_temperature_keep_the_symmetry_of_the_bar_and_vanish_in_equilibrium_if_they_must(rng):
    whole, field = learned(vanishes=True, **WARM), fields(rng)
    biased, there = Biased(whole, 2.3, kT=0.1), moved(BAR, y=-1, shift=1)
    torch.testing.assert_close(biased(field[there]).force, biased(field).force[there], atol=1e-13, rtol=0)
    assert torch.equal(Biased(whole, 0.0, kT=0.1)(field).force, torch.zeros_like(field))


@HEADS
def test_models_of_one_temperature_have_the_weights_and_files_that_they_had(head, rng, tmp_path):
    """A description without the interval, as earlier versions left it, gives the network without."""
    whole, field = learned(head=head), fields(rng)
    told = whole.config()
    assert told["model"].pop("temperatures") is None
    again = LearnedForceField.from_config(told).double().eval()
    again.load_state_dict(whole.state_dict())
    assert torch.equal(Biased(again, 2.0)(field).force, Biased(whole, 2.0)(field).force)
    warm, again = learned(head=head, **WARM), tmp_path / "warm"
    save(warm, again)
    loaded = load(again)
    assert loaded.model.temperatures == (0.02, 0.15)
    assert torch.equal(Biased(loaded, 2.0, kT=0.1)(field).force, Biased(warm, 2.0, kT=0.1)(field).force)


def test_a_temperature_is_refused_by_what_knows_none_and_an_interval_that_is_none(rng):
    with pytest.raises(ValueError, match="leaves none for the temperature"):
        Biased(learned(), 2.0, kT=0.1)
    with pytest.raises(ValueError, match="lowest and the highest"):
        learned(temperatures=(0.1, 0.1))


def test_a_pulse_drives_a_run(rng):
    whole, field = learned(head="energy"), fields(rng, 2)
    pulsed = Biased(whole, Pulse(2.5, start=0.2, stop=0.4))
    run = simulate(pulsed, Brownian(0.1, kT=0.0), field, steps=6, record=Every(1), rng=None)
    for k in range(7):
        x = torch.from_numpy(run.data.field.values.reshape(7, 2, 28, 1)[k])
        expected = Biased(whole, 2.5 if k in (2, 3) else 0.0)(x).force
        torch.testing.assert_close(torch.from_numpy(run.data.force.values.reshape(7, 2, 28, 1)[k]), expected)
    assert "energy" not in run.data
    with pytest.raises(ValueError, match="at_time"):
        pulsed(field)


def test_a_part_of_a_bar_is_refused():
    with pytest.raises(ValueError, match="whole bars"):
        BarCNN(BAR, **SMALL)(torch.zeros(1, 2, 9, 9))


def test_the_untrained_network_has_forces_of_order_one(rng):
    force = Biased(learned(head="force", channels=8), 2.0)(fields(rng, 8)).force
    assert 1e-2 < float(force.square().mean().sqrt()) < 3 and math.isfinite(float(force.sum()))
