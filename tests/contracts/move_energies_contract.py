"""What all energies of moves must satisfy. A member signs by one line in ``MOVE_ENERGIES``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from nearsight.descriptors import Irreps
from nearsight.fields import occupation
from nearsight.forcefields import LearnedForceField
from nearsight.hamiltonians import FalicovKimball
from nearsight.lattices import chain, cubic, honeycomb, kagome, site_permutations, square, torus_group, triangular
from nearsight.moves import ExactMoves, Hops, LatticeGas, LearnedMoves, MoveEnergies, Walk
from nearsight.networks import MLP, EmbeddedNetwork, GroupCNN
from nearsight.reproductions import FiveCaseCNN, FiveCases, MoveCentred


@dataclass(frozen=True)
class Member:
    """``tolerance`` is the error of one difference (energy) the member promises; ``state_function`` says that the
    differences are those of some energy, which a model that predicts them directly need not promise."""

    make: Callable[[], MoveEnergies]
    tolerance: float = 1e-11
    state_function: bool = True


def electrons(lattice, **options):
    model = {k: options.pop(k) for k in ("t", "U", "spins", "twist") if k in options}
    hops = Hops(lattice, options.pop("shell", 1))
    ensemble = {} if {"mu", "number", "filling"} & set(options) else {"filling": 0.55}
    kT = options.pop("kT", 0.2)
    return Member(
        lambda: ExactMoves(FalicovKimball(lattice, **model), hops, kT=kT, **ensemble, **options),
        options.get("tolerance", 1e-6),
    )


def embedded(lattice, radius, dtype=torch.float64, **options):
    network = EmbeddedNetwork(lattice, occupation(), radius=radius, channels=3, **options).to(dtype)
    return LearnedMoves(LearnedForceField(network))


def convolved(lattice, *radii):
    network = GroupCNN(lattice, occupation(), channels=2, radii=radii).double()
    return LearnedMoves(LearnedForceField(network))


def described(lattice, cutoff, shell=1):
    forcefield = LearnedForceField(Irreps(lattice, occupation(), cutoff=cutoff), MLP((6,))).double()
    return LearnedMoves(forcefield, Hops(lattice, shell))


def centred(lattice, cutoff):
    return Member(lambda: MoveCentred(Hops(lattice), MLP((6,)), cutoff=cutoff).double(), state_function=False)


def published(cutoff, directed):
    network = FiveCaseCNN(len(square(3).neighbourhood(cutoff)) - 1)
    return Member(
        lambda: FiveCases(Hops(square(6)), cutoff=cutoff, directed=directed, network=network).double(),
        state_function=False,
    )


MOVE_ENERGIES = [
    pytest.param(Member(lambda: LatticeGas(square(5, 4), J=(0.7, -0.3))), id="lattice gas"),
    pytest.param(Member(lambda: LatticeGas(honeycomb(3), J=-1.0)), id="lattice gas, honeycomb"),
    pytest.param(electrons(square(6)), id="electrons"),
    pytest.param(electrons(square(6), tolerance=1e-10), id="electrons, to 1e-10"),
    pytest.param(electrons(square(6), mu=0.4, kT=0.05), id="electrons at fixed mu"),
    pytest.param(electrons(square(6), energy="internal"), id="electrons, internal energy"),
    pytest.param(electrons(square(5, 4), number=9, U=-3.0, spins=2), id="electrons with spin, attractive"),
    pytest.param(electrons(square(4), rank=4), id="electrons, always renewed"),
    pytest.param(electrons(square(5), t=(1.0, -0.3), shell=2), id="electrons, diagonal hops"),
    pytest.param(electrons(triangular(4), kT=0.02), id="electrons, cold, triangular"),
    pytest.param(electrons(honeycomb(3), U=20.0), id="electrons, honeycomb, strong coupling"),
    pytest.param(electrons(chain(9), kT=3.0), id="electrons, hot, chain"),
    pytest.param(electrons(square(4), twist=(np.pi, np.pi)), id="electrons, antiperiodic"),
    pytest.param(electrons(chain(9), twist=(0.7,), kT=0.1), id="electrons with a persistent current"),
    pytest.param(Member(lambda: embedded(square(9), 2.3)), id="embedded"),
    pytest.param(Member(lambda: embedded(square(9), 2.3, torch.float32), 2e-5), id="embedded, single precision"),
    pytest.param(Member(lambda: embedded(square(5), 3.0)), id="embedded, window wider than the torus"),
    pytest.param(Member(lambda: embedded(triangular(7), 1.8, widths=(5, 4))), id="embedded, triangular, two layers"),
    pytest.param(Member(lambda: embedded(chain(11), 3.1, widths=())), id="embedded, chain, no hidden layer"),
    pytest.param(Member(lambda: embedded(cubic(4), 1.5)), id="embedded, cubic"),
    pytest.param(Member(lambda: convolved(square(10), 1.5)), id="convolutions in windows"),
    pytest.param(Member(lambda: convolved(square(5), 1.5, 1.0)), id="convolutions, whole lattice"),
    pytest.param(Member(lambda: described(honeycomb(6), 1.2)), id="irreps, honeycomb"),
    pytest.param(Member(lambda: described(square(8), 1.5, 2)), id="irreps, diagonal hops"),
    pytest.param(centred(square(7), 2.6), id="bond"),
    pytest.param(centred(square(4), 3.0), id="bond, window wider than the torus"),
    pytest.param(centred(kagome(3), 1.6), id="bond, kagome"),
    pytest.param(published(3.2, True), id="five cases"),
    pytest.param(published(3.2, False), id="five cases, undirected"),
]
every_member = pytest.mark.parametrize("member", MOVE_ENERGIES)
every_state_function = pytest.mark.parametrize("member", [p for p in MOVE_ENERGIES if p.values[0].state_function])


def occupations(energies: MoveEnergies, rng: torch.Generator, *batch: int) -> Tensor:
    """A third of the sites, the same number in every replica."""
    sites = energies.lattice.n_sites
    return (torch.rand(*batch, sites, 1, generator=rng).argsort(-2) < sites // 3).double()


def random_moves(walk: Walk, rng: torch.Generator, count: int) -> list[int]:
    """Make some random possible moves, and tell which."""
    made = []
    while len(made) < count:
        move = int(torch.randint(len(walk.hops), (1,), generator=rng))
        if walk.possible(move):
            walk.accept(move)
            made.append(move)
    return made


# --- all moves of a configuration -------------------------------------------------------------------------------------


@every_member
def test_only_possible_moves_have_a_finite_cost(member, rng):
    energies = member.make()
    fields = occupations(energies, rng, 3)
    differences = energies.differences(fields)
    assert differences.dtype == torch.float64 and differences.shape == (3, len(energies.hops))
    possible = energies.hops.possible(fields)
    assert bool(possible.any()) and torch.equal(torch.isfinite(differences), possible)
    assert bool((differences[~possible] == torch.inf).all())


@every_member
def test_a_batch_equals_a_loop(member, rng):
    energies = member.make()
    fields = occupations(energies, rng, 2, 2)
    batch = energies.differences(fields)
    for i in range(2):
        for j in range(2):
            torch.testing.assert_close(batch[i, j], energies.differences(fields[i, j]), atol=1e-12, rtol=0)


@every_member
@pytest.mark.parametrize("value", [0.0, 1.0], ids=["empty", "full"])
def test_without_particles_or_without_holes_nothing_can_move(member, value):
    energies = member.make()
    field = torch.full((energies.lattice.n_sites, 1), value, dtype=torch.float64)
    assert bool((energies.differences(field) == torch.inf).all())


@every_member
def test_costs_move_with_the_field(member, rng):
    energies = member.make()
    lattice, hops = energies.lattice, energies.hops
    field = occupations(energies, rng)
    differences = energies.differences(field)
    permutations = list(site_permutations(lattice, torus_group(lattice)))
    for offset in range(1, lattice.n_cells):
        step = lattice.cells[offset * lattice.n_basis]
        permutations.append(lattice.index(lattice.cells + step, lattice.sublattice))
    site, direction = np.nonzero(hops.targets >= 0)
    for permutation in map(np.asarray, permutations[:: max(1, len(permutations) // 12)]):
        moved = torch.empty_like(field)
        moved[permutation] = field
        start, end = permutation[site], permutation[hops.targets[site, direction]]
        image = start * hops.directions + (hops.targets[start] == end[:, None]).argmax(1)
        torch.testing.assert_close(
            energies.differences(moved)[image],
            differences[site * hops.directions + direction],
            atol=2 * member.tolerance,
            rtol=0,
        )


# --- energies that are functions of the state -------------------------------------------------------------------------


@every_state_function
def test_a_move_back_costs_the_opposite(member, rng):
    energies = member.make()
    field = occupations(energies, rng)
    there = energies.differences(field)
    moves = torch.nonzero(torch.isfinite(there))[:12, 0]
    after = energies.hops.apply(field.expand(len(moves), -1, -1), moves)
    back = energies.differences(after)[torch.arange(len(moves)), torch.from_numpy(energies.hops.reversed)[moves]]
    torch.testing.assert_close(back, -there[moves], atol=2 * member.tolerance, rtol=0)


@every_state_function
def test_two_moves_cost_the_same_in_either_order(member, rng):
    energies = member.make()
    field = occupations(energies, rng)
    hops = energies.hops
    alone = energies.differences(field)
    pairs = 0
    for first in torch.nonzero(torch.isfinite(alone))[::3, 0]:
        after = hops.apply(field, first)
        then = energies.differences(after)
        for second in torch.nonzero(torch.isfinite(then) & torch.isfinite(alone))[:2, 0]:
            between = hops.apply(field, second)
            if not hops.possible(between)[first] or not torch.equal(
                hops.apply(between, first), hops.apply(after, second)
            ):
                continue
            one, other = alone[first] + then[second], alone[second] + energies.differences(between)[first]
            torch.testing.assert_close(one, other, atol=4 * member.tolerance, rtol=0)
            pairs += 1
    assert pairs > 0


@every_state_function
def test_the_costs_around_a_loop_cancel(member, rng):
    """Out by random moves, and home by undoing them in another order."""
    energies = member.make()
    walk = energies.start_walk(occupations(energies, rng))
    start, total = walk.field, 0.0
    out = random_moves(energies.start_walk(start), rng, 8)
    home = way_home(energies.hops, start, out, rng)
    for move in out + home:
        total += walk.difference(move)
        walk.accept(move)
    assert torch.equal(walk.field, start)
    assert abs(total) <= 16 * member.tolerance


def way_home(hops: Hops, start: Tensor, out: list[int], rng: torch.Generator) -> list[int]:
    """The moves undone in a random order in which each is possible when its turn comes."""
    reached = start
    for move in out:
        reached = hops.apply(reached, torch.tensor(move))
    back = [int(hops.reversed[m]) for m in reversed(out)]
    for _ in range(500):
        order = [back[k] for k in torch.randperm(len(back), generator=rng)]
        field = reached
        for move in order:
            if not hops.possible(field)[move]:
                break
            field = hops.apply(field, torch.tensor(move))
        else:
            return order
    return back


# --- walks ------------------------------------------------------------------------------------------------------------


@every_member
def test_a_walk_agrees_with_all_differences_of_its_field(member, rng):
    energies = member.make()
    walk = energies.start_walk(occupations(energies, rng))
    for count in (0, 1, 3, 8):
        random_moves(walk, rng, count)
        differences = energies.differences(walk.field).numpy()
        np.testing.assert_allclose(walk.differences(), differences, atol=2 * member.tolerance, rtol=0)
        for move in np.flatnonzero(np.isfinite(differences))[::5]:
            assert walk.difference(int(move)) == pytest.approx(differences[move], abs=2 * member.tolerance)


@every_member
def test_particles_are_conserved_and_keep_their_numbers(member, rng):
    energies = member.make()
    walk = energies.start_walk(occupations(energies, rng))
    number = walk.occupied.sum()
    for _ in range(10):
        before = walk.positions.copy()
        (move,) = random_moves(walk, rng, 1)
        site, direction = divmod(move, walk.hops.directions)
        moved = np.flatnonzero(walk.positions != before)
        assert before[moved] == [site] and walk.positions[moved] == [walk.hops.targets[site, direction]]
        assert walk.occupied.sum() == number
        assert np.array_equal(np.sort(walk.positions), np.flatnonzero(walk.occupied))


@every_member
def test_a_walk_is_a_function_of_its_field_and_moves(member, rng):
    """What was asked on the way leaves no trace, not in the last bit either."""
    energies = member.make()
    field = occupations(energies, rng)
    silent, curious = energies.start_walk(field), energies.start_walk(field)
    for k in range(8):
        for move in torch.randint(len(energies.hops), (3 + k,), generator=rng).tolist():
            if curious.possible(move):
                curious.difference(move)
        (move,) = random_moves(silent, rng, 1)
        curious.accept(move)
    moves = [m for m in range(len(energies.hops)) if silent.possible(m)]
    assert [silent.difference(m) for m in moves] == [curious.difference(m) for m in reversed(moves)][::-1]


@every_member
def test_moves_not_said_to_have_changed_have_not(member, rng):
    energies = member.make()
    walk = energies.start_walk(occupations(energies, rng))
    for _ in range(4):
        before = walk.differences()
        move = int(np.flatnonzero(np.isfinite(before))[int(torch.randint(1000, (1,), generator=rng)) % 7])
        changed = walk.accept(move)
        if changed is not None:
            same = np.setdiff1d(np.arange(len(before)), changed)
            np.testing.assert_array_equal(walk.differences()[same], before[same])


@every_member
def test_attempts_are_accepted_up_to_their_thresholds(member, rng):
    energies = member.make()
    field = occupations(energies, rng)
    walk, plain = energies.start_walk(field), energies.start_walk(field)
    count = 60
    particle = torch.randint(len(walk.positions), (count,), generator=rng).numpy()
    direction = torch.randint(walk.hops.directions, (count,), generator=rng).numpy()
    threshold = -0.3 * torch.rand(count, generator=rng, dtype=torch.float64).log().numpy()
    made, meant = walk.attempt(particle, direction, threshold), Walk.attempt(plain, particle, direction, threshold)
    assert 0 < made.accepted.sum() < count
    np.testing.assert_array_equal(made.accepted, meant.accepted)
    np.testing.assert_allclose(made.difference, meant.difference, atol=2 * member.tolerance, rtol=0)
    assert np.array_equal(made.accepted, made.difference <= threshold)
    assert np.array_equal(walk.positions, plain.positions) and torch.equal(walk.field, plain.field)


# --- the door ---------------------------------------------------------------------------------------------------------


@every_member
def test_what_is_no_occupation_is_refused(member, rng):
    energies = member.make()
    field = occupations(energies, rng)
    with pytest.raises(ValueError, match="has shape"):
        energies.differences(field[:-1])
    with pytest.raises(ValueError, match="one replica"):
        energies.start_walk(occupations(energies, rng, 2))
    field[0] = 0.5
    for ask in (energies.differences, energies.start_walk):
        with pytest.raises(ValueError, match=r"1 of \d+ values are not 0 or 1"):
            ask(field)


@every_member
def test_the_same_physics_on_another_lattice(member, rng):
    energies = member.make()
    lattice = energies.lattice
    larger = lattice.resized(*(n + 1 for n in lattice.shape))
    there = energies.on(larger)
    assert type(there) is type(energies) and there.lattice.coincides(larger)
    field = occupations(energies, rng)
    torch.testing.assert_close(there.on(lattice).differences(field), energies.differences(field), atol=1e-12, rtol=0)
    assert bool(torch.isfinite(there.differences(occupations(there, rng))).any())


@every_member
def test_its_configuration_is_plain_data(member):
    assert json.loads(json.dumps(member.make().config()))
