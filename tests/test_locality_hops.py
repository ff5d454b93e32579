"""How far the energies of hops see, against energies whose range is known."""

import numpy as np
import pytest
import torch

from nearsight.analysis import examine_locality, response, truncation
from nearsight.analysis.locality._range import ends, nearer_end
from nearsight.fields import occupation
from nearsight.forcefields import LearnedForceField
from nearsight.hamiltonians import FalicovKimball
from nearsight.lattices import square
from nearsight.moves import ExactMoves, Hops, LearnedMoves, MoveEnergies
from nearsight.networks import EmbeddedNetwork


class Pairs(MoveEnergies):
    """E = ½ Σ_ij v(r_ij) n_i n_j."""

    def __init__(self, lattice, v):
        self.hops, self.v = Hops(lattice), v
        difference = lattice.positions[:, None] - lattice.positions[None]
        half = np.asarray(lattice.shape) / 2
        self.r = np.linalg.norm((difference + half) % (2 * half) - half, axis=-1)
        self.matrix = torch.from_numpy(np.where(self.r > 0, v(np.maximum(self.r, 0.1)), 0.0))

    def energy(self, field):
        n = field[..., 0]
        return 0.5 * torch.einsum("...i,ij,...j->...", n, self.matrix, n)

    def differences(self, field):
        felt = field[..., 0] @ self.matrix
        first, last = ends(self.hops)
        there = felt[..., last] - self.matrix[first, last]  # what hops does not meet itself
        return torch.where(self.hops.possible(field), there - felt[..., first], torch.inf)

    def start_walk(self, field):
        raise NotImplementedError

    def on(self, lattice):
        return type(self)(lattice, self.v)


def scattered(lattice, rng, count, density=0.3):
    order = torch.rand(count, lattice.n_sites, generator=rng).argsort(-1).argsort(-1)
    return (order < round(density * lattice.n_sites)).double()[..., None]


def test_distances_of_a_hop_are_from_its_nearer_end():
    hops = Hops(square(6))
    first, last = ends(hops)
    r = nearer_end(hops.lattice, hops, np.arange(len(hops)))
    assert (r[np.arange(len(hops)), first] == 0).all() and (r[np.arange(len(hops)), last] == 0).all()
    assert ((np.abs(r - 1) < 1e-9).sum(1) == 6).all()  # three neighbours of either end that are not the other one


def test_the_pairs_of_this_test_hop_by_their_energy(rng):
    pairs = Pairs(square(6), lambda r: 1 / r)
    field = scattered(pairs.lattice, rng, 1)[0]
    for move in torch.nonzero(pairs.hops.possible(field))[:5, 0]:
        after = pairs.energy(pairs.hops.apply(field, move))
        assert float(pairs.differences(field)[move]) == pytest.approx(float(after - pairs.energy(field)))


def test_pairs_respond_by_the_difference_of_their_energies_at_both_ends(rng):
    """χ of a hop i → j to a particle at k is v(r_jk) - v(r_ik), whatever else there is."""
    pairs = Pairs(square(8), lambda r: np.exp(-r / 2.0))
    fields = scattered(pairs.lattice, rng, 12)
    found = response(pairs, fields, rng=rng, sources=64)
    first, last = ends(pairs.hops)
    for R in (1.0, 2.0, 3.0):
        k = 0  # one site stands for all
        r = np.minimum(pairs.r[first, k], pairs.r[last, k])
        at = np.abs(r - R) < 1e-6
        expected = (pairs.matrix[last[at], k] - pairs.matrix[first[at], k]).square().mean().sqrt()
        assert float(found.profile.sel(r=R, method="nearest")) == pytest.approx(float(expected), rel=0.02)
    assert float(found.r[0]) == 1.0 and not found.spread_out


@pytest.mark.parametrize("R0", [1.0, 2.0, np.sqrt(5.0)])
def test_pairs_are_seen_as_far_as_they_go(R0, rng):
    pairs = Pairs(square(8), lambda r: np.where(r < R0 + 1e-6, 1.0 + r, 0.0))
    fields = scattered(pairs.lattice, rng, 4)
    found = response(pairs, fields, rng=rng)
    assert found.reach == pytest.approx(R0)
    floor = truncation(pairs, fields, [0.0, R0, 4.0], rng=rng, samples=12)
    assert float(floor["floor"][0]) > 0.1
    assert float(np.abs(floor["change"][1:]).max()) < 1e-12


def test_the_radius_of_a_network_is_half_of_what_a_hop_sees(rng):
    lattice = square(8)
    network = EmbeddedNetwork(lattice, occupation(), radius=1.5, channels=3, widths=(4,), rng=rng)
    learned = LearnedMoves(LearnedForceField(network))
    found = response(learned, scattered(lattice, rng, 4), rng=rng)
    assert found.reach == pytest.approx(2 * np.sqrt(2.0))
    assert learned.dtype == torch.float32  # measured on a copy
    blind = EmbeddedNetwork(lattice, occupation(), radius=0, channels=3, widths=(4,), rng=rng)
    nothing = response(LearnedMoves(LearnedForceField(blind)), scattered(lattice, rng, 2), rng=rng)
    assert nothing.reach == 0.0


def test_the_response_of_electrons_is_the_third_difference_of_their_free_energy(rng):
    exact = ExactMoves(FalicovKimball(square(4), U=2.0), kT=0.3, mu=0.5)
    field = scattered(exact.lattice, rng, 1)
    found = response(exact, field, rng=rng, sources=16)

    def omega(n):
        levels = torch.linalg.eigvalsh(torch.from_numpy(exact.matrix(n[:, 0].numpy())))
        return float(-0.3 * torch.log1p(torch.exp(-(levels - 0.5) / 0.3)).sum())

    total = 0.0
    for move in torch.nonzero(exact.hops.possible(field[0]))[:, 0]:
        after = exact.hops.apply(field[0], move)
        for j in torch.nonzero(after[:, 0] == field[0, :, 0])[:, 0].tolist():
            chi = 0.0
            for state, sign in ((after, 1), (field[0], -1)):
                for value in (0.0, 1.0):
                    other = state.clone()
                    other[j] = value
                    chi += sign * (2 * value - 1) * omega(other)
            total += chi**2
    assert float(found.data["square"].sum()) == pytest.approx(total, rel=1e-4)


def test_particles_are_conserved_where_surroundings_fit_equally_well(rng):
    """At R = 0 all that is asked of a candidate is the hop itself, and every one that has it has the right number."""
    lattice, seen = square(6), []

    class Watched(Pairs):
        def differences(self, field):
            seen.append(field.sum((-2, -1)))
            return super().differences(field)

    fields = scattered(lattice, rng, 12)
    truncation(Watched(lattice, lambda r: 1 / r), fields, [0.0], rng=rng, samples=12)
    assert len(seen) == 2 and float((seen[1] - fields[0].sum()).abs().max()) == 0.0


def test_an_examination_of_hops_has_all_that_one_of_forces_has(rng):
    truth = Pairs(square(6), lambda r: np.exp(-r))
    near = Pairs(square(6), lambda r: np.where(r < 1.5, np.exp(-r), 0.0))
    fields = scattered(truth.lattice, rng, 12)
    found = examine_locality(truth, fields, models={"near": near}, probes={"a": near, "b": truth}, rng=rng, samples=24)
    data = found.data
    assert float(data["size"][0]) == pytest.approx(np.sqrt(2)) and float(data["probe_error"].sel(probe="b")) < 1e-12
    at = float(data["floor"].sel(radius=np.sqrt(2), method="nearest"))
    assert float(data["error"][0]) > at  # no model of this cutoff errs less, and pairs cut off at each end err more
    labels = truth.differences(fields)
    known = torch.isfinite(labels)
    difference = near.differences(fields)[known] - labels[known]
    assert float(data["error"][0]) == pytest.approx(float(difference.square().mean().sqrt()))
    assert float(data["rms"]) == pytest.approx(float(labels[known].square().mean().sqrt()))
    assert "energy of a hop" in found.words


def test_mistakes_are_answered_in_words(rng):
    pairs = Pairs(square(4), lambda r: 1 / r)
    fields = scattered(pairs.lattice, rng, 3)
    with pytest.raises(ValueError, match="not 0 or 1"):
        response(pairs, 0.5 * fields, rng=rng)
    with pytest.raises(ValueError, match="No hop is possible"):
        response(pairs, torch.ones(2, 16, 1, dtype=torch.float64), rng=rng)
    with pytest.raises(ValueError, match="leave them out"):
        truncation(pairs, torch.cat([fields, torch.ones_like(fields[:1])]), [1.0], rng=rng)
    with pytest.raises(ValueError, match="another trajectory"):
        truncation(pairs, fields, [1.0], rng=rng, groups=np.zeros(3))
    with pytest.raises(ValueError, match="the exact energies are of"):
        examine_locality(pairs, fields, models={"small": pairs.on(square(3))}, rng=rng)
    with pytest.raises(ValueError, match="truth must hold"):
        examine_locality(pairs, fields, truth=np.zeros((3, 5)), rng=rng)
