"""Every update rule leads from any state to any other and has Boltzmann's weights in the long run, on every lattice.

The transition matrices are worked out here from the rules as textbooks state them, by code that shares nothing with the
samplers; the samplers are then held against the matrices, transition by transition.
"""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.sparse.csgraph import connected_components

from nearsight.hamiltonians import Ising, Potts
from nearsight.lattices import chain, square
from nearsight.sampling import HeatBath, Metropolis, SwendsenWang, Wolff, agreement, enumerate_states, mean_and_error
from nearsight.sampling import sample as sample_store

TRIED = 15 / 16


class Torus:
    """All states of q-state sites on a periodic chain or square; a side of two has two bonds between the same sites."""

    def __init__(self, shape: tuple[int, ...], q: int = 2, J: float = 1.0, h: float = 0.0) -> None:
        self.shape, self.q, self.J, self.n = shape, q, J, int(np.prod(shape))
        self.states = np.array(list(itertools.product(range(q), repeat=self.n)))
        grid = self.states.reshape(-1, *shape)
        sites = np.arange(self.n).reshape(shape)
        self.bonds = [
            pair for axis in range(len(shape)) for pair in zip(sites.flat, np.roll(sites, -1, axis).flat, strict=True)
        ]
        equal = sum((grid == np.roll(grid, -1, a + 1)).reshape(len(grid), -1).sum(1) for a in range(len(shape)))
        if q == 2:
            # Σ s s' over bonds is twice the equal ones less all.
            self.energy = -J * (2.0 * equal - len(self.bonds)) - h * (2 * self.states - 1).sum(1)
            lattice = square(*shape) if len(shape) == 2 else chain(*shape)
            self.model = Ising(lattice, J=J, h=h)
        else:
            self.energy = -J * equal.astype(float)
            self.model = Potts(square(*shape) if len(shape) == 2 else chain(*shape), q, J=J)
        self.place = q ** np.arange(self.n)[::-1]

    def boltzmann(self, kT: float) -> np.ndarray:
        weight = np.exp(-(self.energy - self.energy.min()) / kT)
        return weight / weight.sum()

    def site(self, i: int, rule: str, kT: float, tried: float = TRIED) -> np.ndarray:
        """The matrix of one attempt at site i."""
        size = len(self.states)
        matrix = np.zeros((size, size))
        own = self.states[:, i]
        targets = [np.arange(size) + (b - own) * self.place[i] for b in range(self.q)]
        if rule == "heat-bath":
            weights = np.stack([np.exp(-(self.energy[t] - self.energy) / kT) for t in targets])
            for target, odds in zip(targets, weights / weights.sum(0), strict=True):
                matrix[np.arange(size), target] += odds
            return matrix
        for target in targets:
            moves = target != np.arange(size)
            odds = tried / (self.q - 1) * np.exp(-np.maximum(self.energy[target] - self.energy, 0) / kT) * moves
            matrix[np.arange(size), target] += odds
        return matrix + np.diag(1 - matrix.sum(1))

    def checkerboard(self, rule: str, kT: float, tried: float = TRIED) -> np.ndarray:
        colour = np.indices(self.shape).sum(0).ravel() % 2
        matrix = np.eye(len(self.states))
        for i in np.argsort(colour, kind="stable"):
            matrix = matrix @ self.site(i, rule, kT, tried)
        return matrix

    def in_order(self, rule: str, kT: float) -> np.ndarray:
        attempts = [self.site(i, rule, kT) for i in range(self.n)]
        return np.linalg.multi_dot(attempts) if self.n > 1 else attempts[0]

    def table(self, rule: str, kT: float) -> np.ndarray:
        if rule == "heat-bath":
            return self.in_order(rule, kT)
        return np.linalg.matrix_power(sum(self.site(i, rule, kT) for i in range(self.n)) / self.n, self.n)

    def clusters(self, rule: str, kT: float) -> np.ndarray:
        """Swendsen-Wang and Wolff: every set of kept bonds, every cluster."""
        size, cost = len(self.states), abs(self.J) * (2 if self.q == 2 else 1)
        keep = 1 - np.exp(-cost / kT)
        matrix = np.zeros((size, size))
        for s, state in enumerate(self.states):
            satisfied = [b for b in self.bonds if (state[b[0]] == state[b[1]]) == (self.J > 0)]
            for kept in itertools.product([False, True], repeat=len(satisfied)):
                odds = np.prod(np.where(kept, keep, 1 - keep)) if kept else 1.0
                graph = np.zeros((self.n, self.n))
                for bond, on in zip(satisfied, kept, strict=True):
                    graph[bond] = graph[bond] or on
                count, label = connected_components(graph, directed=False)
                if rule == "swendsen-wang":
                    for shift in itertools.product(range(self.q), repeat=count):
                        new = (state + np.array(shift)[label]) % self.q
                        matrix[s, new @ self.place] += odds / self.q**count
                else:
                    for seed, shift in itertools.product(range(self.n), range(1, self.q)):
                        new = (state + shift * (label == label[seed])) % self.q
                        matrix[s, new @ self.place] += TRIED * odds / self.n / (self.q - 1)
        return matrix if rule == "swendsen-wang" else matrix + (1 - TRIED) * np.eye(size)


def mistakes(matrix: np.ndarray, boltzmann: np.ndarray) -> list[str]:
    """What a matrix lacks of a Markov chain whose only stationary distribution is Boltzmann's."""
    parts = connected_components(matrix > 0, connection="strong")[0]
    found = [] if parts == 1 else [f"{parts} sets of states that do not reach each other"]
    # In a set of states that reach each other one that may stay makes all times possible.
    found += [] if (np.diag(matrix) > 0).any() else ["periodic"]
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-12)
    return found + ([] if np.allclose(boltzmann @ matrix, boltzmann, atol=1e-13) else ["another distribution"])


@pytest.mark.parametrize("kT", [0.8, 2.5, 1e6])
@pytest.mark.parametrize("rule", ["metropolis", "heat-bath"])
@pytest.mark.parametrize(("J", "h"), [(1.0, 0.0), (-1.0, 0.0), (1.0, 0.3)])
@pytest.mark.parametrize("shape", [(2, 2), (2, 4), (4, 2)], ids=str)
def test_checkerboard_rules_are_ergodic(shape, J, h, rule, kT):
    torus = Torus(shape, J=J, h=h)
    assert mistakes(torus.checkerboard(rule, kT), torus.boltzmann(kT)) == []


@pytest.mark.parametrize("kT", [0.8, 1e6])
@pytest.mark.parametrize("rule", ["metropolis", "heat-bath"])
@pytest.mark.parametrize(
    "torus", [Torus((5,)), Torus((2, 3), J=-1), Torus((2, 4)), Torus((4,), q=3)], ids=["5", "2x3", "2x4", "Potts"]
)
def test_rules_of_one_site_at_a_time_are_ergodic(torus, rule, kT):
    assert mistakes(torus.table(rule, kT), torus.boltzmann(kT)) == []
    assert mistakes(torus.in_order(rule, kT), torus.boltzmann(kT)) == []


@pytest.mark.parametrize("kT", [0.8, 1e6])
@pytest.mark.parametrize("rule", ["swendsen-wang", "wolff"])
@pytest.mark.parametrize("torus", [Torus((2, 2)), Torus((2, 2), J=-1), Torus((4,), q=3)], ids=["2x2", "AF", "Potts"])
def test_cluster_rules_are_ergodic(torus, rule, kT):
    assert mistakes(torus.clusters(rule, kT), torus.boltzmann(kT)) == []


def test_metropolis_on_a_checkerboard_freezes_where_no_site_is_skipped():
    for shape in ((2, 2), (2, 4), (4, 2)):
        torus = Torus(shape)
        assert mistakes(torus.checkerboard("metropolis", 2.5, tried=1.0), torus.boltzmann(2.5))


RULES = {
    "words": lambda torus, rule, kT: torus.checkerboard(rule, kT),
    "bytes": lambda torus, rule, kT: torus.checkerboard(rule, kT),
    "lanes": lambda torus, rule, kT: torus.in_order(rule, kT),
    "table": lambda torus, rule, kT: torus.table(rule, kT),
}


def transitions_p_value(sampler_of, torus: Torus, matrix: np.ndarray, repeats: int) -> float:
    """Pearson's test of one sweep from every state, ``repeats`` times; impossible moves have p = 0."""
    starts = torch.from_numpy(np.tile(torus.states, (repeats, 1)).astype(np.int8))
    sampler = sampler_of(starts)
    np.testing.assert_allclose(sampler.energy[: len(torus.states)].numpy(), torus.energy, atol=1e-12)
    sampler.sweep()
    counts = np.zeros(matrix.shape)
    np.add.at(counts, (np.tile(np.arange(len(matrix)), repeats), sampler.states.numpy() @ torus.place), 1)
    if (counts[matrix == 0] > 0).any():
        return 0.0
    chi2, dof = 0.0, 0
    for row, odds in zip(counts, matrix, strict=True):
        order = np.argsort(odds)[(odds == 0).sum() :]
        expected = odds[order] * repeats
        cell = np.minimum(np.floor(np.cumsum(expected) / 5), repeats // 5 - 1).astype(int)
        cell = np.unique(cell, return_inverse=True)[1]
        got, due = np.bincount(cell, row[order]), np.bincount(cell, expected)
        chi2, dof = chi2 + ((got - due) ** 2 / due).sum(), dof + len(due) - 1
    return float(stats.chi2.sf(chi2, dof))


@pytest.mark.parametrize("kT", [1.5, 4.0])
@pytest.mark.parametrize("kind", [Metropolis, HeatBath])
@pytest.mark.parametrize("code", RULES)
@pytest.mark.parametrize(("shape", "J"), [((2, 2), -1.0), ((2, 4), 1.0), ((4, 2), 1.0)], ids=str)
def test_codes_do_what_their_rule_says_transition_by_transition(shape, J, code, kind, kT):
    torus = Torus(shape, J=J)
    matrix = RULES[code](torus, kind.name, kT)
    if code == "words" and len(matrix) < 64:
        pytest.skip("64 replicas that start alike skip the same sites: their first steps are no independent trials")
    repeats = 400 if len(matrix) == 16 else 50
    p = transitions_p_value(lambda x: kind(torus.model, kT, start=x, seed=3, code=code), torus, matrix, repeats)
    assert p > 1e-3
    # It would notice: at another temperature the same moves are improbable.
    hot = transitions_p_value(lambda x: kind(torus.model, 2 * kT, start=x, code=code), torus, matrix, repeats)
    assert hot < 1e-3


@pytest.mark.parametrize("kind", [SwendsenWang, Wolff])
@pytest.mark.parametrize("torus", [Torus((2, 2)), Torus((2, 2), J=-1), Torus((4,), q=3)], ids=["2x2", "AF", "Potts"])
def test_clusters_turn_as_their_rule_says_transition_by_transition(torus, kind):
    matrix = torus.clusters(kind.name, 1.5)
    assert transitions_p_value(lambda x: kind(torus.model, 1.5, start=x, seed=3), torus, matrix, 300) > 1e-3


# --- what did not happen is seen ------------------------------------------------------------------------------------


def ornstein(chains: int, steps: int, tau: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian chains in equilibrium with integrated autocorrelation time τ."""
    memory = (2 * tau - 1) / (2 * tau + 1)
    noise = rng.normal(size=(chains, steps)) * np.sqrt(1 - memory**2)
    noise[:, 0] /= np.sqrt(1 - memory**2)
    x = np.empty_like(noise)
    x[:, 0] = noise[:, 0]
    for t in range(1, steps):
        x[:, t] = memory * x[:, t - 1] + noise[:, t]
    return x


@pytest.mark.parametrize("chains", [4, 64])
def test_chains_of_one_distribution_agree_as_often_as_the_p_value_says(chains):
    rng = np.random.default_rng(2)
    p = np.array([agreement(ornstein(chains, 400, 5.0, rng)) for _ in range(300)])
    # 80 τ leave τ uncertain: a little more than nominal is allowed, and never a verdict at 1/1000 in one of a hundred.
    assert 0.02 < (p < 0.05).mean() < 0.10 and (p < 1e-3).mean() < 0.01


def test_one_frozen_chain_of_many_is_seen():
    x = ornstein(64, 400, 5.0, np.random.default_rng(3))
    x[17] = 4.0
    assert agreement(x) < 1e-6
    assert agreement(np.repeat([[1.0], [2.0]], 50, axis=1)) == 0.0 and agreement(np.ones((3, 50))) == 1.0


def energies(shape, kT, seed=0, J=1.0, **options):
    model = Ising(square(*shape), J=J)
    store = sample_store(model, kT, 256, seed=seed, workers=1, progress=False, **options)
    rows = [store.energy[store.chain == c] for c in np.unique(store.chain)]
    return model, np.stack(rows)


def test_a_chain_that_cannot_move_is_no_equilibrium():
    # Walls across a strip wander only past states that cost four bonds: from order the energy seems at rest.
    with pytest.raises(RuntimeError, match="disagree"):
        energies((2, 16), 0.45, sampler="metropolis", start="mixed", max_sweeps=2**13)


@pytest.mark.parametrize("shape", [(2, 2), (2, 4), (4, 2), (3, 3), (2, 6), (3, 4)], ids=str)
def test_energies_of_small_tori_cover_the_exact_ones(shape):
    deviations = []
    for J, kT in itertools.product((1.0, -1.0), (1.5, 2.0, 3.0, 5.0)):
        for seed in range(3):
            model, rows = energies(shape, kT, seed, J)
            if not seed:
                exact = float(enumerate_states(model).thermodynamics(kT).energy) * model.lattice.n_sites
            mean, error = mean_and_error(rows)
            deviations.append((mean - exact) / error)
    z = np.array(deviations)
    assert stats.chi2.sf((z**2).sum(), len(z)) > 1e-3 and np.abs(z).max() < 4.5
