"""Tables from labels: planted couplings come back, errors are those of the labels, and what does not fit is seen."""

import math

import numpy as np
import pytest
import torch

from nearsight.hamiltonians import Ising, Potts, TileModel
from nearsight.inference import Observations, distil
from nearsight.lattices import square, triangular
from nearsight.networks import EDNN
from nearsight.sampling import Metropolis, SwendsenWang, ising_torus, mean_and_error
from nearsight.training import TrainerOptions

BOND, DIAGONAL, PLAQUETTE = ((0, 0), (0, 1)), ((0, 0), (1, 1)), ((0, 0), (0, 1), (1, 0), (1, 1))
PLANTED = {BOND: 1.0, DIAGONAL: -0.3, PLAQUETTE: 0.2}
SMALL = {"shape": (3, 3), "stride": (1, 1)}


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def values(model: TileModel, sites: int = 4) -> dict:
    return {c.cluster: c.value for c in model.couplings(sites=sites) if c.cluster}


@pytest.mark.parametrize("lattice", [square(6), square(8)], ids=repr)
def test_planted_couplings_come_back(lattice):
    true = TileModel.from_couplings(lattice, PLANTED)
    found = distil(true.energy, lattice, count=3000, rng=seeded())
    for cluster, J in values(found.model).items():
        assert abs(J - PLANTED.get(cluster, 0.0)) < 1e-8
    assert found.residual < 1e-6 and found.label_error < 1e-10
    assert not found.model.disordered and found.model.field_type.internal == "Z2"


def test_fields_and_other_lattices():
    couplings = {((0, 0),): 0.4, BOND: -1.0, ((0, 0), (0, 1), (1, 0)): 0.25}
    true = TileModel.from_couplings(triangular(6), couplings, **SMALL)
    found = distil(true.energy, triangular(6), count=3000, internal=False, rng=seeded(), **SMALL)
    expected = values(true)
    for cluster, J in values(found.model).items():
        assert abs(J - expected[cluster]) < 1e-7


def test_couplings_of_three_states_come_back():
    potts = Potts(square(4), 3, J=1.5)
    found = distil(potts.energy, square(4), count=4000, n_states=3, shape=(2, 2), stride=(1, 1), rng=seeded())
    np.testing.assert_allclose(values(found.model, 2)[BOND], 1.5 * (np.eye(3) - 1 / 3), atol=1e-7)
    assert found.model.field_type.internal == "S(n)"


def test_the_fit_is_the_least_squares_solution_with_its_ridge():
    lattice, rng = square(6), np.random.default_rng(3)
    states = Ising(lattice).random_states(seeded(), 400)
    labels = rng.normal(size=400)
    w = rng.uniform(0.5, 2.0, 400)
    ridge = 0.05
    found = distil(torch.from_numpy(labels), lattice, states, weights=torch.from_numpy(w), ridge=ridge,
                   shape=(2, 3), stride=(1, 1), symmetric=False, validation=0.1, rng=seeded(7))  # fmt: skip
    kept = np.sort(torch.randperm(400, generator=seeded(7)).numpy()[40:])
    # Features one by one: every even cluster of a 2 × 3 tile up to translations, its products summed over the lattice.
    spins = (2.0 * states.numpy() - 1)[kept].reshape(-1, 6, 6)
    clusters = {}
    for code in range(1, 64):
        cells = np.argwhere((code >> np.arange(6) & 1).reshape(2, 3))
        if len(cells) % 2 == 0:
            clusters[tuple(map(tuple, cells - cells.min(0)))] = None
    features = []
    for cluster in clusters:
        product = np.ones_like(spins)
        for x, y in cluster:
            product = product * np.roll(spins, (-x, -y), (1, 2))
        features.append(product.sum((1, 2)) / 6)
    A, y, w = np.stack(features, 1), labels[kept], (w / w.mean())[kept]
    A, y = A - np.average(A, axis=0, weights=w), y - np.average(y, weights=w)
    theta = np.linalg.solve(A.T @ (w[:, None] * A) + ridge * w.sum() * np.eye(len(clusters)), A.T @ (w * y))
    model = found.model
    read = {}
    for code in range(1, 64):
        s = 1.0 - 2 * np.array([bin(c & code).count("1") % 2 for c in range(64)])
        cells = np.argwhere((code >> np.arange(6) & 1).reshape(2, 3))
        key = tuple(map(tuple, cells - cells.min(0)))
        read[key] = read.get(key, 0.0) + (model.table * s).mean() * (-1) ** len(cells)
    np.testing.assert_allclose([read[c] for c in clusters], theta / 6, rtol=1e-6, atol=1e-9)


def test_errors_of_couplings_are_those_of_independent_labels():
    # Products of random spins are orthogonal: the variance of J is σ² / (labels × sites × multiplicity).
    lattice, sigma, squares = square(6), 2.0, []
    for seed in range(12):
        states = Ising(lattice).random_states(seeded(seed), 4000)
        noise = sigma * torch.randn(4000, generator=seeded(100 + seed), dtype=torch.float64)
        found = distil(Ising(lattice).energy(states) + noise, lattice, states, ridge=0.0, rng=seeded(seed), **SMALL)
        for c in found.model.couplings(sites=2):
            if len(c.cluster) == 2:
                error = sigma / math.sqrt(found.labels * 36 * c.multiplicity)
                squares.append(((c.value - (c.cluster == BOND)) / error) ** 2)
        assert abs(found.residual - sigma) < 5 * sigma / math.sqrt(2 * 400)
        assert math.isnan(found.label_error)
    # Each of the squares has mean 1 and variance 2.
    assert len(squares) == 60 and abs(np.mean(squares) - 1) < 4 * math.sqrt(2 / 60)


def test_errors_of_labels_and_what_tiles_cannot_hold_are_told_apart():
    lattice = square(8)
    distant = TileModel.from_couplings(lattice, {BOND: 1.0, ((0, 0), (0, 3)): 0.05}, shape=(4, 4), stride=(1, 1))
    weight = torch.randn(64, 64, generator=seeded(5), dtype=torch.float64)

    def energy(states):
        s = 2.0 * states.double() - 1
        asymmetric = torch.tanh(s @ weight).sum(-1)  # odd: no image repeats it
        return distant.energy(states) + 0.1 * asymmetric

    found = distil(energy, lattice, count=20000, rng=seeded())
    states = Ising(lattice).random_states(seeded(9), 4000)
    spread = (energy(states) - distant.energy(states)).std()
    # Pairs at distance 3 make an energy of variance J² × 2 bonds × 64 sites.
    assert found.misfit == pytest.approx(0.05 * math.sqrt(128), rel=0.1)
    assert found.label_error == pytest.approx(float(spread), rel=0.1)
    assert "labels" in str(found)


def test_a_penalty_is_chosen_where_labels_are_few():
    lattice = square(8)
    states = Ising(lattice).random_states(seeded(), 700)
    labels = 0.05 * Ising(lattice).energy(states) + 3 * torch.randn(700, generator=seeded(2), dtype=torch.float64)
    held = Ising(lattice).random_states(seeded(8), 2000)
    errors = []
    for ridge in (0.0, None):
        found = distil(labels, lattice, states, ridge=ridge, validation=0.3, rng=seeded(3))
        errors.append(float((found.model.energy(held) - 0.05 * Ising(lattice).energy(held)).std()))
    assert found.ridge > 0.01 and errors[1] < 0.9 * errors[0]


def test_observations_are_configurations():
    lattice = square(6)
    seen = Observations(lattice, Ising(lattice).random_states(seeded(), 4000), kT=2.0)
    found = distil(Ising(lattice).energy, lattice, seen, count=2000, rng=seeded())
    assert found.labels == 1800 and values(found.model)[BOND] == pytest.approx(1.0, abs=1e-8)
    with pytest.raises(ValueError, match=r"observations\.lattice"):
        distil(Ising(lattice).energy, square(8), seen, rng=seeded())


def test_bad_labels_are_refused_with_their_cure():
    lattice = square(6)
    states = Ising(lattice).random_states(seeded(), 10)
    good = Ising(lattice).energy
    for change, error in (
        ({"states": states, "energy": torch.ones(9)}, "as many labels"),
        ({"states": states, "energy": torch.full((10,), math.inf)}, "not finite"),
        ({"states": states, "weights": torch.zeros(10)}, "> 0"),
        ({"weights": torch.ones(10)}, "given states"),
        ({"states": states[0]}, "configuration, site"),
        ({"validation": 0.99, "states": states}, "leave nothing to fit"),
        ({"n_states": 7, "shape": (2, 2), "stride": (1, 1)}, "permutations"),
    ):
        with pytest.raises(ValueError, match=error):
            distil(**({"energy": good, "lattice": lattice, "count": 10, "rng": seeded()} | change))
    with pytest.raises(TypeError, match="function of states"):
        distil(torch.ones(10), lattice, rng=seeded())
    with pytest.raises(TypeError, match=r"torch\.Generator"):
        distil(good, lattice, rng=3)


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("q", "focus"), [(2, 1), (2, 2), (3, 1)])
def test_a_network_of_tiles_is_its_table(q, focus):
    network = EDNN(square(6), focus=focus, widths=(8, 4), n_states=q, rng=seeded())
    model = network.model()
    states = model.random_states(seeded(), 3, 2)
    torch.testing.assert_close(network(states).double(), model.energy(states), rtol=1e-4, atol=1e-4)
    assert model.field_type.internal == ("Z2" if q == 2 else "S(n)")
    assert model.disordered == (focus == 2)
    turned = states.reshape(3, 2, 6, 6).transpose(-1, -2).flatten(-2)
    if focus == 1:
        torch.testing.assert_close(model.energy(turned), model.energy(states), rtol=0, atol=1e-9)
    twice = states.reshape(3, 2, 6, 6).repeat(1, 1, 2, 1).flatten(-2)
    longer = network.on(square(12, 6))
    torch.testing.assert_close(longer(twice), 2 * network(states), rtol=1e-4, atol=1e-4)


def test_a_network_is_fitted_to_labels_and_goes_on_after_a_stop(tmp_path):
    lattice = square(6)
    options = TrainerOptions(steps=60, optimizer="adamw", batch_size=500, learning_rate=3e-3, warmup=5, average=0.9,
                             validate_every=20, checkpoint_every=20)  # fmt: skip

    def fitted(options, path, resume=False):
        network = EDNN(lattice, focus=1, widths=(16,), rng=seeded())
        return distil(Ising(lattice).energy, lattice, count=2000, network=network, options=options, path=path,
                      resume=resume, progress=False, rng=seeded())  # fmt: skip

    found = fitted(options, tmp_path / "a")
    assert found.residual < 0.4 * float(Ising(lattice).energy(Ising(lattice).random_states(seeded(), 999)).std())
    assert found.label_error < 1e-6
    torch.testing.assert_close(
        fitted(options, tmp_path / "a", resume=True).model.table.copy(), found.model.table.copy()
    )


def test_no_graph_of_a_labelling_network_is_kept():
    """Graphs of all labels at once would fill the memory."""
    weight = torch.nn.Parameter(torch.ones(()))

    def energy(states):
        labels = weight * states.sum(-1).double()
        assert not labels.requires_grad
        return labels

    assert torch.is_grad_enabled()
    distil(energy, square(4), count=200, shape=(2, 2), stride=(1, 1), rng=seeded())


# --- transfer ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_table_learned_on_a_small_lattice_holds_on_large_ones_at_all_temperatures():
    """Labels of 8 × 8 sites with errors of 1 J; |m| from Swendsen-Wang of the true model, U from the exact torus."""
    lattice = square(8)
    states = Ising(lattice).random_states(seeded(), 400_000)
    labels = Ising(lattice).energy(states) + torch.randn(len(states), generator=seeded(2), dtype=torch.float64)
    found = distil(labels, lattice, states, rng=seeded())
    for length, temperatures in ((24, (1 / 0.3407, 1 / 0.4407, 1 / 0.5407)), (128, (1 / 0.3407, 1 / 0.5407))):
        model = found.model.on(square(length))
        for kT in temperatures:
            start = "ordered" if kT < 2.2 else "random"
            chains = Metropolis(model, kT, chains=32, seed=4, start=start)
            chains.sweep(1000)
            energy, m2 = chains.record(8000 if length == 24 else 1000, every=4)
            clusters = SwendsenWang(Ising(square(length)), kT, chains=8, seed=3, start=start)
            clusters.sweep(50)
            _, reference = clusters.record(3000 if length == 24 else 400)
            U, error = mean_and_error(energy / length**2)
            assert abs(U - ising_torus(length, length, kT).energy) < 4 * error + 1e-3
            (m, dm), (m0, dm0) = mean_and_error(np.sqrt(m2)), mean_and_error(np.sqrt(reference))
            assert abs(m - m0) < 4 * math.hypot(dm, dm0) + 2e-3
