"""Hopping particles against the enumeration of three particles on twelve sites."""

import itertools
import math
from functools import cache

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.special
import scipy.stats
import torch

from nearsight.dynamics import (
    At,
    Every,
    HopMonteCarlo,
    HopRates,
    KineticMonteCarlo,
    Langevin,
    RejectionFreeHops,
    Scheme,
    Trajectory,
    simulate,
)
from nearsight.dynamics._acceptance import RULES, Acceptance
from nearsight.dynamics._sum_tree import SumTree
from nearsight.fields import occupation
from nearsight.forcefields import ClassicalForceField, LearnedForceField
from nearsight.hamiltonians import FalicovKimball, Holstein
from nearsight.lattices import square
from nearsight.moves import ExactMoves, Hops, LatticeGas, LearnedMoves
from nearsight.networks import EmbeddedNetwork
from nearsight.storage import tree_hash

LATTICE = square(4, 3)
PARTICLES = 3
KT, COLD = 1.5, 0.1
ELECTRONS = FalicovKimball(LATTICE, t=1.0, U=2.0)
GAS = LatticeGas(LATTICE, J=1.0)
WRONG = LatticeGas(LATTICE, J=-0.5)


class Crooked(LatticeGas):
    """Differences of no energy: hop and reverse do not cost the opposite."""

    def start_walk(self, field):
        walk = super().start_walk(field)
        true = walk.difference
        walk.difference = lambda move: true(move) + 2.0 * math.sin(move)
        return walk


CROOKED = Crooked(LATTICE, J=0.4)


@cache
def states() -> torch.Tensor:
    fields = torch.zeros(math.comb(LATTICE.n_sites, PARTICLES), LATTICE.n_sites, 1, dtype=torch.float64)
    for field, sites in zip(fields, itertools.combinations(range(LATTICE.n_sites), PARTICLES), strict=True):
        field[list(sites)] = 1.0
    return fields


def numbers(fields: torch.Tensor) -> np.ndarray:
    """Index of every field ``(*batch, site, 1)`` in ``states()``."""
    powers = 2.0 ** torch.arange(LATTICE.n_sites, dtype=torch.float64)
    known, asked = states()[..., 0] @ powers, fields[..., 0].double() @ powers
    order = known.argsort()
    return order[torch.searchsorted(known[order], asked)].numpy()


@cache
def energies() -> np.ndarray:
    return ClassicalForceField(Holstein(LATTICE, k=0.0, kappa=-1.0))(states()).energy.numpy()


@cache
def electron_energies() -> np.ndarray:
    """F at 5 electrons among the particles, from the spectrum of every state."""
    levels = torch.linalg.eigvalsh(ELECTRONS.matrix(states())).numpy() / COLD

    def free_energy(eps: np.ndarray) -> float:
        mu = scipy.optimize.brentq(lambda y: scipy.special.expit(y - eps).sum() - 5, -50, 50, xtol=1e-13)
        return COLD * (5 * mu - np.logaddexp(0, mu - eps).sum())

    return np.array([free_energy(eps) for eps in levels])


def boltzmann() -> np.ndarray:
    """The weights of all states of the gas."""
    weights = np.exp(-(energies() - energies().min()) / KT)
    return weights / weights.sum()


def accepted(rule: str, cost: np.ndarray, kT: float) -> np.ndarray:
    return np.minimum(1.0, np.exp(-cost / kT)) if rule == "metropolis" else 1.0 / (1.0 + np.exp(cost / kT))


@cache
def attempt_matrix(rule: str, screen: LatticeGas | None = None, energies=energies, kT: float = KT) -> np.ndarray:
    """Probability ``(from, to)`` of one attempt, from the energies of all states and the rule alone."""
    hops = GAS.hops
    fields, possible = states(), hops.possible(states())
    start, move = torch.nonzero(possible, as_tuple=True)
    end = numbers(hops.apply(fields[start], move))
    start, move = start.numpy(), move.numpy()
    cost = energies()[end] - energies()[start]
    chance = accepted(rule, cost, kT)
    if screen is not None:
        walks = [screen.start_walk(field) for field in fields]
        forward, backward = (
            accepted(rule, np.array([walks[s].difference(m) for s, m in zip(at, by, strict=True)]), kT)
            for at, by in ((start, move), (end, hops.reversed[move]))
        )
        chance = forward * np.minimum(1.0, backward / forward * np.exp(-cost / kT))
    matrix = np.zeros((len(fields), len(fields)))
    np.add.at(matrix, (start, end), chance / (PARTICLES * hops.directions))
    matrix[np.diag_indices_from(matrix)] += 1 - matrix.sum(1)
    return matrix


def agrees(fields: torch.Tensor, law: np.ndarray, classes: np.ndarray | None = None) -> bool:
    """Whether independent fields are drawn from a law over the states; rare states are counted together.

    ``classes`` of states are counted together as well.
    """
    counts, expected = np.bincount(numbers(fields), minlength=len(law)), len(fields) * law
    if classes is not None:
        counts, expected = (np.bincount(classes, weights) for weights in (counts, expected))
    rare = expected < 8
    assert counts[expected < 1e-9].sum() == 0
    seen, expected = (np.append(x[~rare], x[rare].sum()) for x in (counts, expected))
    keep = expected > 5
    seen, expected = seen[keep], expected[keep]
    return scipy.stats.chisquare(seen, expected * seen.sum() / expected.sum()).pvalue > 1e-3


def generator(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def start(*batch: int) -> torch.Tensor:
    return states()[17].expand(*batch, -1, -1).clone()


SCREENS = [
    pytest.param(None, id="unscreened"),
    pytest.param(WRONG, id="screened by the wrong sign"),
    pytest.param(CROOKED, id="screened by no energy"),
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("screen", SCREENS)
def test_the_law_after_some_attempts_is_the_power_of_the_matrix(rule, screen):
    scheme = HopMonteCarlo(GAS, kT=KT, rule=rule, screen=screen, attempts=5 / 3)
    run = simulate(None, scheme, start(3000), steps=1, record=None, rng=generator())
    law = np.linalg.matrix_power(attempt_matrix(rule, screen), 5)[17]
    assert run.final.time == pytest.approx(5 / 3)
    assert agrees(run.final.field, law)
    assert not agrees(run.final.field, np.linalg.matrix_power(attempt_matrix(rule, screen), 7)[17])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("screen", SCREENS)
def test_what_is_distributed_as_boltzmann_says_stays_so_whatever_the_screen(rule, screen):
    drawn = torch.multinomial(torch.from_numpy(boltzmann()), 2500, replacement=True, generator=generator(3))
    scheme = HopMonteCarlo(GAS, kT=KT, rule=rule, screen=screen, attempts=6)
    final = simulate(None, scheme, states()[drawn], steps=1, record=None, rng=generator(6)).final
    assert agrees(final.field, boltzmann())
    assert (numbers(final.field) != drawn.numpy()).mean() > 0.7
    # Nothing else does: the matrix has a single eigenvalue 1, and none is -1.
    root = np.sqrt(boltzmann())
    spectrum = np.linalg.eigvalsh(root[:, None] * attempt_matrix(rule, screen) / root)
    assert spectrum[0] > -0.9 and spectrum[-2] < 0.98 and spectrum[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("screen", SCREENS)
def test_attempts_are_in_detailed_balance_with_boltzmann(rule, screen):
    flow = boltzmann()[:, None] * attempt_matrix(rule, screen)
    np.testing.assert_allclose(flow, flow.T, atol=1e-16)


@pytest.mark.parametrize("rule", RULES)
def test_one_attempt_moves_as_the_matrix_says(rule):
    """p(i → j) = A/4 for the particle that was drawn: the thesis's rule, one attempt at a time."""
    scheme = HopMonteCarlo(GAS, kT=KT, rule=rule, attempts=1 / 3)
    run = simulate(None, scheme, start(3000), steps=1, record=None, rng=generator(7))
    assert agrees(run.final.field, attempt_matrix(rule)[17])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("time", [0.8, 6.0])
def test_rejection_free_hops_follow_the_master_equation_in_attempts_per_particle(rule, time):
    scheme = RejectionFreeHops(HopRates(GAS, kT=KT, rule=rule), duration=time / 2)
    run = simulate(None, scheme, start(2000), steps=2, record=None, rng=generator(8))
    generator_of_time = PARTICLES * (attempt_matrix(rule) - np.eye(len(states())))
    law = scipy.linalg.expm(time * generator_of_time)[17]
    assert agrees(run.final.field, law)


def test_kinetic_monte_carlo_of_the_same_rates_has_the_same_law():
    scheme = KineticMonteCarlo(HopRates(GAS, kT=KT))
    run = simulate(None, scheme, start(4000), steps=30, record=Every(1, fields=("field",)), rng=generator(9)).data
    time, moment = run.time.values, 2.0
    assert time[-1].min() > moment
    last = (time <= moment).sum(axis=0) - 1
    fields = torch.from_numpy(run.field.values[last, np.arange(4000)])
    law = scipy.linalg.expm(moment * PARTICLES * (attempt_matrix("metropolis") - np.eye(len(states()))))[17]
    assert agrees(fields, law)


@pytest.mark.parametrize("rule", RULES)
def test_attempted_and_rejection_free_hops_relax_alike(rule):
    lattice, particles, replicas = square(16), 80, 40
    gas = LatticeGas(lattice, J=1.0)
    field = (torch.rand(replicas, 256, 1, generator=generator(10)).argsort(-2).argsort(-2) < particles).double()
    curves = []
    for scheme in (
        HopMonteCarlo(gas, kT=0.4, rule=rule, attempts=0.5),
        RejectionFreeHops(HopRates(gas, kT=0.4, rule=rule), duration=0.5),
    ):
        record = At((1, 2, 4, 8, 16), fields=("energy_change", "accepted"))
        data = simulate(None, scheme, field, steps=16, record=record, rng=generator(11)).data
        assert data.time.values.tolist() == [0.5, 1.0, 2.0, 4.0, 8.0]
        curves.append(np.stack([data.energy_change.values, data.accepted.values]) / particles)
    assert curves[0][0, -1].mean() < -0.3
    # The same start in both: their difference is what is distributed about zero.
    difference = curves[0] - curves[1]
    pulls = difference.mean(-1) / (difference.std(-1, ddof=1) / math.sqrt(replicas))
    assert np.abs(pulls).max() < 4


@pytest.mark.parametrize(
    ("rule", "screen", "free"),
    [
        ("metropolis", None, False),
        ("glauber", LatticeGas(LATTICE, J=-0.02), False),
        pytest.param("metropolis", None, True, marks=pytest.mark.slow),
    ],
    ids=["attempts", "screened by a gas", "rejection-free"],
)
def test_f_electrons_among_electrons_obey_the_free_energies_of_the_spectrum(rule, screen, free):
    exact = ExactMoves(ELECTRONS, Hops(LATTICE), kT=COLD, number=5)
    scheme: Scheme = (
        RejectionFreeHops(HopRates(exact, kT=COLD, rule=rule), duration=3.0)
        if free
        else HopMonteCarlo(exact, kT=COLD, rule=rule, screen=screen, attempts=3.0)
    )
    drawn = torch.randint(len(states()), (160,), generator=generator(12))
    final = simulate(None, scheme, states()[drawn], steps=1, record=None, rng=generator(13)).final.field
    matrix = attempt_matrix(rule, screen, electron_energies, COLD)
    evolved = scipy.linalg.expm(3.0 * PARTICLES * (matrix - np.eye(len(matrix))))
    law = (evolved if free else np.linalg.matrix_power(matrix, 9)).mean(0)
    # States of one free energy are images of each other, and so likely alike.
    classes = np.unique(electron_energies().round(7), return_inverse=True)[1]
    assert agrees(final, law, classes)
    assert not agrees(states()[drawn], law, classes)


@pytest.mark.parametrize(
    ("rule", "free"),
    [("metropolis", False), ("glauber", False), pytest.param("metropolis", True, marks=pytest.mark.slow)],
)
def test_learned_hops_end_with_the_boltzmann_weights_of_their_energy(rule, free):
    network = EmbeddedNetwork(LATTICE, occupation(), radius=1.5, channels=4, widths=(4,), rng=generator(5)).double()
    student = LearnedMoves(LearnedForceField(network).eval())
    energy = student.energy(states()).numpy()
    kT = float(energy.std())
    law = np.exp(-(energy - energy.min()) / kT)
    law /= law.sum()
    scheme: Scheme = (
        RejectionFreeHops(HopRates(student, kT=kT, rule=rule), duration=40.0)
        if free
        else HopMonteCarlo(student, kT=kT, rule=rule, attempts=40.0)
    )
    drawn = torch.randint(len(states()), (3000,), generator=generator(14))
    final = simulate(None, scheme, states()[drawn], steps=1, record=None, rng=generator(15)).final.field
    assert agrees(final, law)
    assert not agrees(states()[drawn], law)


SCHEMES = [
    pytest.param(HopMonteCarlo(GAS, kT=KT), id="attempts"),
    pytest.param(HopMonteCarlo(GAS, kT=KT, rule="glauber", attempts=7 / 3, screen=CROOKED), id="screened"),
    pytest.param(RejectionFreeHops(HopRates(GAS, kT=KT), duration=0.7), id="rejection-free"),
]
every_scheme = pytest.mark.parametrize("scheme", SCHEMES)


@every_scheme
def test_a_replica_does_not_know_how_many_others_there_are(scheme):
    fields = states()[[17, 3, 200, 90]]
    many = simulate(None, scheme, fields, steps=6, record=None, rng=generator()).final
    few = simulate(None, scheme, fields[:2], steps=6, record=None, rng=generator()).final
    alone = simulate(None, scheme, fields[0], steps=6, record=None, rng=generator()).final
    assert torch.equal(many.field[:2], few.field) and torch.equal(many.field[0], alone.field)
    assert all(torch.equal(many.tally[name][:2], few.tally[name]) for name in many.tally)
    assert not torch.equal(*(simulate(None, scheme, start(2), steps=6, record=None, rng=generator()).final.field))


@every_scheme
def test_particles_are_conserved_and_the_books_balance(scheme):
    names = tuple(scheme.start(start(8), None, None).tally)
    record = Every(5, fields=("field", *names))
    data = simulate(None, scheme, start(8), steps=30, record=record, rng=generator()).data
    assert (data.field.values.sum((-2, -1)) == PARTICLES).all()
    energy = energies()[numbers(torch.from_numpy(data.field.values))]
    np.testing.assert_allclose(data.energy_change.values, energy - energy[0], atol=1e-10)
    assert (np.diff(data.accepted.values, axis=0) >= 0).all() and (data.accepted.values[-1] > 0).all()
    if "evaluated" in names:
        attempts = data.time.values[:, None] * PARTICLES
        assert (data.accepted.values <= data.evaluated.values).all()
        assert (data.evaluated.values[1:] < attempts[1:]).all()


def test_a_good_screen_saves_evaluations_and_an_exact_one_changes_nothing_but_that():
    runs = [
        simulate(None, HopMonteCarlo(GAS, kT=0.3, screen=screen), start(50), steps=20, record=None, rng=generator())
        for screen in (None, GAS)
    ]
    plain, screened = (run.final for run in runs)
    assert torch.equal(plain.field, screened.field) and torch.equal(plain.tally["accepted"], screened.tally["accepted"])
    assert torch.equal(screened.tally["evaluated"], screened.tally["accepted"])
    assert float(plain.tally["evaluated"].sum()) > 1.5 * float(screened.tally["evaluated"].sum())


class Stumbling(LatticeGas):
    """Energies that give way when a walk is begun for the ``left``-th time."""

    left = -1

    def start_walk(self, field):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return super().start_walk(field)


Stumbling.__name__ = "LatticeGas"  # the same energies


@pytest.mark.parametrize("moment", range(0, 26, 3))
@pytest.mark.parametrize("free", [False, True], ids=["attempts", "rejection-free"])
def test_a_run_stopped_at_any_moment_is_resumed_to_the_same_bits(moment, free, tmp_path):
    def run(name, left=-1):
        gas = Stumbling(LATTICE, J=1.0)
        gas.left = left
        scheme = (
            RejectionFreeHops(HopRates(gas, kT=KT)) if free else HopMonteCarlo(gas, kT=KT, attempts=4 / 3, screen=WRONG)
        )
        record = Every(2, fields=("field", "accepted", "energy_change"))
        settings = dict(steps=13, record=record, rng=generator(), path=tmp_path / name, resume=True)
        return simulate(None, scheme, start(2), checkpoint_every=3, **settings).final

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("cut", left=moment)
    resumed = run("cut")
    assert torch.equal(resumed.field, whole.field)
    assert all(torch.equal(resumed.tally[name], whole.tally[name]) for name in whole.tally)
    assert tree_hash(tmp_path / "cut") == tree_hash(tmp_path / "whole")


def test_other_energies_are_another_run(tmp_path):
    settings = dict(steps=2, record=None, path=tmp_path, resume=True)
    simulate(None, HopMonteCarlo(GAS, kT=KT), start(), rng=generator(), **settings)
    assert set(Trajectory.open(tmp_path).final.tally) == {"accepted", "evaluated", "energy_change"}
    with pytest.raises(ValueError, match=r"scheme\.energies\.J: \[1\.0\] \(then\), \[2\.0\] \(now\)"):
        simulate(None, HopMonteCarlo(LatticeGas(LATTICE, J=2.0), kT=KT), start(), rng=generator(), **settings)


@pytest.mark.parametrize(("rule", "mixes"), [("metropolis", False), ("glauber", True)])
def test_a_lone_particle_keeps_step_with_its_attempts_under_metropolis_only(rule, mixes):
    """Every attempt is accepted: after an even number the particle is on the sublattice it came from."""
    lattice = square(4)
    field = torch.zeros(400, 16, 1, dtype=torch.float64)
    field[:, 0] = 1.0
    scheme = HopMonteCarlo(LatticeGas(lattice, J=1.0), kT=KT, rule=rule, attempts=40)
    final = simulate(None, scheme, field, steps=1, record=None, rng=generator()).final.field
    even = torch.from_numpy(np.indices((4, 4)).sum(0).reshape(-1) % 2 == 0)
    share = float(final[:, even].sum()) / 400
    assert (0.4 < share < 0.6) if mixes else share == 1.0


def test_cold_hops_only_go_downhill():
    for scheme in (HopMonteCarlo(GAS, kT=0.0), RejectionFreeHops(HopRates(GAS, kT=0.0))):
        record = Every(1, fields=("energy_change",))
        data = simulate(None, scheme, states()[::9], steps=20, record=record, rng=generator()).data
        assert (np.diff(data.energy_change.values, axis=0) <= 1e-12).all()
        assert data.energy_change.values[-1].mean() < -0.5


def test_an_exact_screen_changes_nothing_in_the_cold():
    """Moves that cost nothing but rounding are made at both stages."""
    gas = LatticeGas(square(8), J=(0.1, -0.3, 0.2))
    field = (torch.rand(6, 64, 1, generator=generator(2)) < 0.3).double()
    ends = [
        simulate(None, HopMonteCarlo(gas, kT=0.0, screen=screen), field, steps=20, record=None, rng=generator()).final
        for screen in (None, gas)
    ]
    assert torch.equal(*(end.tally["accepted"] for end in ends))
    assert torch.equal(*(end.field for end in ends))


def test_a_frozen_field_stays_while_the_clock_goes_on():
    lattice = square(6)
    block = torch.zeros(6, 6)
    block[:3, :3] = 1.0
    scheme = RejectionFreeHops(HopRates(LatticeGas(lattice, J=1.0), kT=0.0), duration=2.0)
    final = simulate(None, scheme, block.reshape(36, 1), steps=5, record=None, rng=generator()).final
    # A corner can slide along nothing: each of its hops breaks two bonds and makes one at most.
    assert torch.equal(final.field.reshape(6, 6), block) and final.time == 10.0


# --- the rules, the tree ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kT", [0.5, 0.0])
def test_thresholds_accept_as_often_as_the_probability_says(rule, kT):
    acceptance = Acceptance(rule, kT)
    thresholds = acceptance.thresholds(np.random.default_rng(2), 20_000)
    for difference in (-1.0, -0.2, 0.0, 0.3, 1.1, math.inf):
        p = float(acceptance.probability(torch.tensor(difference, dtype=torch.float64)))
        share = (difference <= thresholds).mean()
        assert abs(share - p) <= 4 * math.sqrt(p * (1 - p) / 20_000)


@pytest.mark.parametrize("rule", RULES)
def test_the_cost_of_a_move_is_the_logarithm_of_its_probability(rule):
    acceptance = Acceptance(rule, 0.4)
    for difference in (-30.0, -0.3, 0.0, 0.2, 30.0):
        p = float(acceptance.probability(torch.tensor(difference, dtype=torch.float64)))
        assert acceptance.cost(difference) == pytest.approx(-0.4 * math.log(p), abs=1e-12)


def test_a_sum_tree_finds_what_a_running_sum_finds_and_forgets_its_history():
    chance = np.random.default_rng(1)
    for count in (1, 2, 7, 64, 1000):
        values = chance.exponential(size=count) * (chance.random(count) < 0.5)
        values[count // 2] = 0.7
        tree = SumTree(chance.exponential(size=count))
        order = chance.permutation(np.r_[np.arange(count), np.arange(count)])
        tree.set(order, values[order])
        assert np.array_equal(tree.nodes, SumTree(values).nodes)
        assert tree.total == pytest.approx(values.sum())
        for mark in np.r_[0.0, chance.random(200), np.nextafter(1.0, 0.0)] * tree.total:
            found = tree.find(mark)
            assert values[found] > 0
            assert values[:found].sum() - 1e-9 <= mark <= values[: found + 1].sum() + 1e-9


# --- what is refused --------------------------------------------------------------------------------------------------


@every_scheme
def test_fields_without_particles_or_holes_are_refused(scheme):
    for value, name in ((0.0, "empty"), (1.0, "full")):
        field = torch.stack([states()[0], torch.full((12, 1), value, dtype=torch.float64)])
        with pytest.raises(ValueError, match=f"1 of 2 replicas are {name}: hops need at least one particle"):
            scheme.start(field, None, generator())
    with pytest.raises(ValueError, match="12 of 12 values are not 0 or 1"):
        scheme.start(torch.full((12, 1), 0.5), None, generator())
    with pytest.raises(ValueError, match="first order in time"):
        scheme.start(start(), None, generator(), velocity=start())
    with pytest.raises(TypeError, match=r"pass rng=torch\.Generator"):
        scheme.step(scheme.start(start(), None, None), None, None)


def test_impossible_parameters_are_refused_and_the_cure_named():
    with pytest.raises(ValueError, match=r"kT must be a finite real number ≥ 0, got -0\.1"):
        HopMonteCarlo(GAS, kT=-0.1)
    with pytest.raises(ValueError, match="kT must be a finite real number ≥ 0"):
        HopRates(GAS, kT=math.nan)
    with pytest.raises(ValueError, match='rule must be "metropolis" or "glauber"'):
        HopMonteCarlo(GAS, kT=1.0, rule="kawasaki")
    with pytest.raises(ValueError, match="attempts must be a finite real number > 0"):
        HopMonteCarlo(GAS, kT=1.0, attempts=0)
    with pytest.raises(ValueError, match="take a multiple of 1/3"):
        HopMonteCarlo(GAS, kT=1.0, attempts=0.5).start(start(), None, generator())
    with pytest.raises(ValueError, match="duration must be a finite real number > 0"):
        RejectionFreeHops(HopRates(GAS, kT=1.0), duration=0.0)
    with pytest.raises(ValueError, match="attempt_rate must be a finite real number > 0"):
        HopRates(GAS, kT=1.0, attempt_rate=0.0)
    for screen in (LatticeGas(square(4)), LatticeGas(LATTICE, shell=2)):
        with pytest.raises(ValueError, match="The screen knows"):
            HopMonteCarlo(GAS, kT=1.0, screen=screen)


def test_lattices_that_do_not_fit_are_refused():
    scheme = HopMonteCarlo(GAS, kT=1.0)
    with pytest.raises(ValueError, match=r"shape \(\*batch, 12, 1\)"):
        simulate(None, scheme, torch.zeros(16, 1), steps=1, record=None, rng=generator())
    other = ClassicalForceField(Holstein(square(4), k=0.0))
    with pytest.raises(ValueError, match=r"The moves live on .*, the force field on"):
        simulate(other, scheme, start(), steps=1, record=None, rng=generator())
    with pytest.raises(TypeError, match="Langevin moves by forces"):
        simulate(None, Langevin(0.1, 0.1, 1.0), start(), steps=1, record=None, rng=generator())


def test_a_run_without_a_force_field_records_neither_force_nor_energy():
    data = simulate(None, HopMonteCarlo(GAS, kT=1.0), start(2), steps=2, record=Every(1), rng=generator()).data
    assert list(data.data_vars) == ["field"] and data.attrs["forcefield"] == "none"
    reported = ClassicalForceField(Holstein(LATTICE, k=0.0, kappa=-1.0))
    data = simulate(reported, HopMonteCarlo(GAS, kT=1.0), start(2), steps=2, record=Every(1), rng=generator()).data
    np.testing.assert_allclose(data.energy.values, energies()[numbers(torch.from_numpy(data.field.values))])
    with pytest.raises(ValueError, match="no evaluated to record"):
        record = Every(1, fields=("evaluated",))
        simulate(None, RejectionFreeHops(HopRates(GAS, kT=1.0)), start(), steps=1, record=record, rng=generator())


@every_scheme
def test_energies_that_are_not_numbers_stop_the_run(scheme, monkeypatch):
    honest = LatticeGas.start_walk

    def broken(self, field):
        walk = honest(self, field)
        true = walk.attempt
        walk.attempt = lambda *attempt: true(*attempt)._replace(difference=np.full(len(attempt[0]), np.nan))
        walk.difference = lambda move: math.nan
        walk.differences_of = lambda moves: np.full(len(moves), np.nan)
        return walk

    monkeypatch.setattr(LatticeGas, "start_walk", broken)
    with pytest.raises(ArithmeticError, match="answers NaN for the energy of a hop"):
        simulate(None, scheme, start(), steps=1, record=None, rng=generator())
