"""Learned energies of hops: whose difference they are, and what a walk remembers. What all energies of moves must
satisfy is in ``contracts/move_energies_contract.py``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nearsight._description import fingerprint
from nearsight.descriptors import ACSF, Irreps
from nearsight.fields import occupation, scalar
from nearsight.forcefields import LearnedForceField, load, save
from nearsight.groups import PointGroup
from nearsight.lattices import (
    Lattice,
    chain,
    cubic,
    honeycomb,
    kagome,
    site_group,
    square,
    triangular,
)
from nearsight.moves import Hops, LearnedMoves, MoveEnergies
from nearsight.networks import MLP, EmbeddedNetwork, GroupCNN
from nearsight.reproductions import FiveCases, MoveCentred


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def embedded(lattice: Lattice, radius: float, **options) -> LearnedMoves:
    network = EmbeddedNetwork(lattice, occupation(), radius=radius, channels=3, rng=seeded(), **options)
    return LearnedMoves(LearnedForceField(network).double())


def convolved(lattice: Lattice) -> LearnedMoves:
    network = GroupCNN(lattice, occupation(), channels=2, radii=(1.5, 1.0), rng=seeded())
    return LearnedMoves(LearnedForceField(network).double())


def described(lattice: Lattice, cutoff: float, shell: int = 1) -> LearnedMoves:
    described = Irreps(lattice, occupation(), cutoff=cutoff)
    return LearnedMoves(LearnedForceField(described, MLP((8,), rng=seeded())).double(), Hops(lattice, shell))


def at_edges(lattice: Lattice) -> LearnedMoves:
    described = ACSF(lattice, occupation(), cutoff=2.5)
    return LearnedMoves(LearnedForceField(described, MLP((8,), rng=seeded())).double())


MOVES = [
    pytest.param(lambda: embedded(square(9), 2.3), id="square"),
    pytest.param(lambda: embedded(square(5), 3.0), id="window wider than the torus"),
    pytest.param(lambda: embedded(triangular(7), 1.8, widths=(5, 4)), id="triangular, two layers"),
    pytest.param(lambda: embedded(chain(11), 3.1, widths=()), id="chain, no hidden layer"),
    pytest.param(lambda: embedded(cubic(5), 1.5), id="cubic"),
    pytest.param(lambda: convolved(square(12)), id="GroupCNN in patches"),
    pytest.param(lambda: convolved(square(5)), id="GroupCNN, whole lattice"),
    pytest.param(lambda: described(honeycomb(7), 1.2), id="irreps, honeycomb"),
    pytest.param(lambda: described(square(9), 1.5, shell=2), id="irreps, diagonal hops"),
    pytest.param(lambda: at_edges(replace(square(6), periodic=False)), id="open edges"),
]
every = pytest.mark.parametrize("make", MOVES)


def centred(lattice: Lattice, cutoff: float, shell: int = 1) -> MoveCentred:
    return MoveCentred(Hops(lattice, shell), MLP((6,), rng=seeded()), cutoff=cutoff).double()


CENTRED = [
    pytest.param(lambda: centred(square(9), 2.6), id="bond, square"),
    pytest.param(lambda: centred(square(4), 3.0), id="bond, window wider than the torus"),
    pytest.param(lambda: centred(square(7), 2.0, 2), id="bond, diagonal hops"),
    pytest.param(lambda: centred(triangular(6), 2.0), id="bond, triangular"),
    pytest.param(lambda: centred(kagome(4), 1.6), id="bond, kagome"),
]
centred_on_the_bond = pytest.mark.parametrize("make", CENTRED)


def gas(moves: MoveEnergies, rng: torch.Generator, filling: float = 0.4) -> torch.Tensor:
    sites = moves.lattice.n_sites
    field = torch.zeros(sites, 1, dtype=torch.float64)
    field[torch.randperm(sites, generator=rng)[: round(filling * sites)]] = 1.0
    return field


# --- the difference of a function of the state ----------------------------------------------------------------------


@every
def test_a_hop_costs_the_energy_after_minus_the_energy_before(make, rng):
    moves = make()
    field = gas(moves, rng)
    delta = moves.differences(field)
    for move in torch.nonzero(torch.isfinite(delta))[::7, 0]:
        after = moves.hops.apply(field, move)
        assert float(delta[move]) == pytest.approx(float(moves.energy(after) - moves.energy(field)), abs=1e-12)


def loop_defect(moves: MoveEnergies, field: torch.Tensor) -> np.ndarray:
    """ΔE a → b, c → d, b → a, d → c for pairs of hops that do not exclude each other."""
    delta = moves.differences(field)
    possible = torch.nonzero(torch.isfinite(delta))[:, 0]
    found = []
    for first in possible[::5]:
        for second in possible[::3]:
            total, state = 0.0, field
            for move in (first, second, moves.hops.reversed[first], moves.hops.reversed[second]):
                cost = moves.differences(state)[move]
                if not torch.isfinite(cost):
                    break
                total += float(cost)
                state = moves.hops.apply(state, torch.as_tensor(move))
            else:
                found.append(total)
        if len(found) >= 15:
            break
    return np.array(found)


@centred_on_the_bond
def test_the_way_back_costs_the_opposite_to_the_last_bit(make, rng):
    moves = make()
    field = gas(moves, rng)
    delta = moves.differences(field)
    for move in torch.nonzero(torch.isfinite(delta))[::5, 0]:
        back = moves.differences(moves.hops.apply(field, move))[moves.hops.reversed[move]]
        assert float(back) == -float(delta[move])


def test_an_odd_function_of_the_bond_gains_energy_around_a_loop(rng):
    """Antisymmetry and symmetry are not enough: this is what starting from an energy is for."""
    moves, energy = centred(square(9), 2.6), embedded(square(9), 2.3)
    field = gas(moves, rng, 0.2)
    known = moves.differences(field)
    defect = np.sqrt(np.mean(loop_defect(moves, field) ** 2))
    assert defect > 0.05 * float(known[torch.isfinite(known)].std())
    assert abs(loop_defect(energy, field)).max() < 1e-12


def test_a_learned_energy_serves_every_size(rng):
    moves = embedded(square(12), 2.3)
    field = gas(moves, rng)
    twice = field.view(12, 12).repeat(2, 2).reshape(-1, 1)
    larger = moves.on(square(24))
    same = larger.differences(twice).view(24, 24, 4)[:12, :12]
    torch.testing.assert_close(same, moves.differences(field).view(12, 12, 4), atol=1e-12, rtol=0)
    assert next(larger.parameters()) is next(moves.parameters())


def test_windows_and_columns_agree(rng):
    """The same network evaluated as any other force field would be."""
    moves = embedded(square(13), 2.3)
    field = gas(moves, rng)
    general = LearnedMoves(moves.forcefield)
    general._columns = None
    assert general._patched
    torch.testing.assert_close(general.differences(field), moves.differences(field), atol=1e-12, rtol=0)


# --- the published model ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("directed", [True, False])
def test_the_published_network_has_its_published_sizes(directed, rng):
    moves = FiveCases(Hops(square(12)), directed=directed)
    flat = [layer.in_features for layer in moves.network.cases[0] if isinstance(layer, torch.nn.Linear)]
    assert moves.network.features == 316 and flat == [1088, 256, 128, 64, 32]


def test_invariants_of_the_site_cannot_tell_its_hops_apart(rng):
    field = gas(embedded(square(9), 2.0), rng)
    spread = []
    for directed in (True, False):
        cost = FiveCases(Hops(square(9)), cutoff=4.0, directed=directed).double().differences(field).view(-1, 4)
        several = [c[torch.isfinite(c)] for c in cost if torch.isfinite(c).sum() > 1]
        spread.append(max(float(c.max() - c.min()) for c in several))
    assert spread[0] > 1e-2 and spread[1] < 1e-12


def test_the_published_model_gains_energy_on_the_way_there_and_back(rng):
    moves = FiveCases(Hops(square(9)), cutoff=4.0).double()
    field = gas(embedded(square(9), 2.0), rng)
    delta = moves.differences(field)
    move = torch.nonzero(torch.isfinite(delta))[0, 0]
    back = moves.differences(moves.hops.apply(field, move))[moves.hops.reversed[move]]
    assert abs(float(delta[move] + back)) > 1e-2
    with pytest.raises(ValueError, match="square lattice"):
        FiveCases(Hops(triangular(5)))


# --- walks ----------------------------------------------------------------------------------------------------------


def attempts(moves: MoveEnergies, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    particles = round(0.4 * moves.lattice.n_sites)
    where = draw.integers(particles, size=count), draw.integers(moves.hops.directions, size=count)
    return *where, -0.3 * np.log(draw.random(count))


def test_far_moves_are_kept():
    """What a hop invalidates is a neighbourhood and not the lattice."""
    moves = embedded(square(30), 2.0)
    walk = moves.start_walk(gas(moves, seeded()))
    changed = walk.accept(int(np.flatnonzero(np.isfinite(walk.differences()))[0]))
    assert len(changed) < 0.15 * len(moves.hops)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
def test_no_rounding_accumulates_in_a_walk(dtype, rng):
    """After 100 000 hops the features have the bits of a walk that starts where this one has arrived."""
    moves = embedded(square(12), 2.3)
    moves.to(dtype)
    walk = moves.start_walk(gas(moves, rng))
    particle, direction, _ = attempts(moves, 200_000)
    accepted = walk.attempt(particle, direction, np.full(len(particle), np.inf)).accepted
    fresh = moves.start_walk(walk.field)
    assert accepted.sum() > 1e5
    np.testing.assert_array_equal(walk.u, fresh.u)
    np.testing.assert_array_equal(walk.site_energies, fresh.site_energies)
    np.testing.assert_array_equal(walk.differences(), fresh.differences())


def test_single_precision_is_precise_enough(rng):
    moves = embedded(square(12), 3.0)
    field = gas(moves, rng)
    exact = moves.differences(field).numpy()
    finite = np.isfinite(exact)
    single = moves.float().start_walk(field).differences()
    assert np.abs(single[finite] - exact[finite]).max() < 1e-4 * exact[finite].std()


# --- at the door ----------------------------------------------------------------------------------------------------


def test_a_force_without_an_energy_has_no_hops():
    network = GroupCNN(square(6), scalar(), channels=2, head="force")
    with pytest.raises(ValueError, match='head="energy"'):
        LearnedMoves(LearnedForceField(network))
    with pytest.raises(ValueError, match="direct forces"):
        EmbeddedNetwork(square(6), scalar(), head="force")


def test_hops_and_force_field_share_a_lattice():
    moves = embedded(square(6), 2.0)
    with pytest.raises(ValueError, match="8 × 8"):
        LearnedMoves(moves.forcefield, Hops(square(8)))


def test_a_model_comes_back_from_a_file(tmp_path, rng):
    moves = embedded(square(9), 2.3)
    save(moves.forcefield, tmp_path / "model")
    again = LearnedMoves(load(tmp_path / "model"))
    field = gas(moves, rng)
    assert torch.equal(again.differences(field), moves.differences(field))
    assert fingerprint(again) == fingerprint(moves)
    with torch.no_grad():
        again.forcefield.model.lift.weight += 0.1
    assert fingerprint(again) != fingerprint(moves)


def test_networks_of_different_symmetry_are_different_energies():
    """Two mirrors along the axes or along the diagonals: as many operations, as many weights, other energies."""
    full = site_group(square(6)).matrices
    diagonal = np.abs(full[:, 0, 1]) > 0.5
    half_turn = np.abs(full - np.diag([-1.0, -1.0])).max((1, 2)) < 1e-9
    mirrors = np.linalg.det(full) < 0
    configs = []
    for kept in (~diagonal, half_turn | (diagonal & mirrors) | (np.abs(full - np.eye(2)).max((1, 2)) < 1e-9)):
        group = PointGroup(full[kept])
        assert len(group) == 4
        network = EmbeddedNetwork(square(6), occupation(), radius=1.0, channels=2, group=group)
        configs.append(fingerprint(LearnedMoves(LearnedForceField(network))))
    assert configs[0]["parameters"] == configs[1]["parameters"]
    assert configs[0] != configs[1]


def test_bonds_that_are_not_equivalent_need_an_energy():
    with pytest.raises(ValueError, match="use LearnedMoves"):
        MoveCentred(Hops(kagome(4), 3), cutoff=3.0)
    with pytest.raises(ValueError, match="periodic"):
        MoveCentred(Hops(replace(square(5), periodic=False)))
    with pytest.raises(ValueError, match="raise it"):
        MoveCentred(Hops(square(5)), cutoff=0.6)
