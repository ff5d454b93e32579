"""The range of torques: derivatives on the sphere, what lies beyond a radius, and larger cutoffs."""

import numpy as np
import pytest
import torch

from nearsight.analysis import assess_growth, ensemble_length, examine_locality, response, spin_derivative, truncation
from nearsight.analysis.locality._range import distances, normals
from nearsight.fields import random_spins, skyrmion_lattice, tangent
from nearsight.forcefields import ClassicalForceField, ExactForceField, ForceField, Forces
from nearsight.hamiltonians import Heisenberg, skyrmion_magnet
from nearsight.lattices import triangular
from nearsight.solvers import Dense

J = 0.7


@pytest.fixture
def magnet() -> ClassicalForceField:
    return ClassicalForceField(Heisenberg(triangular(6), J=J))


class Torques(ForceField):
    """The part of another field that turns spins, and what anybody may add along them."""

    def __init__(self, inner, along=0.0):
        super().__init__()
        self.inner, self.lattice, self.components, self.along = inner, inner.lattice, 3, along

    def evaluate(self, field):
        return Forces(tangent(self.inner(field).force, field) + self.along * field, None)

    def on(self, lattice):
        return type(self)(self.inner.on(lattice), self.along)


class Short(Torques):
    """Exchange weakened, and none beyond some distance: a model with a fault of known size."""

    def __init__(self, lattice, factor):
        super().__init__(ClassicalForceField(Heisenberg(lattice, J=factor * J)))


# --- the derivative ---------------------------------------------------------------------------------------------------


def test_normals_are_orthonormal_and_normal_to_the_spin(rng):
    spins = torch.cat([random_spins(triangular(6), rng), torch.eye(3, dtype=torch.float64)])
    frame = torch.cat([spins[:, None], normals(spins)], 1)
    torch.testing.assert_close(frame @ frame.mT, torch.eye(3, dtype=torch.float64).expand(len(frame), 3, 3))


def test_exchange_responds_by_projectors(magnet, rng):
    """χ_ij = J P_i P_j between neighbours, and -(H_i · S_i) P_i on the site itself."""
    spins = random_spins(magnet.lattice, rng)
    change, v = spin_derivative(magnet, spins, [4])
    chi = torch.einsum("kia,kb->iab", change[0], v[0])
    P = torch.eye(3, dtype=torch.float64) - spins[:, :, None] * spins[:, None]
    r = torch.from_numpy(distances(magnet.lattice, [4])[0])
    expected = torch.where((r - 1).abs()[:, None, None] < 1e-6, J * P @ P[4], 0.0)
    expected[4] = -(magnet(spins).force[4] * spins[4]).sum() * P[4]
    torch.testing.assert_close(chi, expected, atol=1e-9, rtol=0)


def test_the_response_of_a_torque_is_that_of_its_field(magnet, rng):
    """A model of H⊥ alone, and one that adds anything along the spins, respond like the field itself."""
    spins = random_spins(magnet.lattice, rng)
    whole = spin_derivative(magnet, spins, [0, 7])[0]
    for along in (0.0, 3.0):
        found = spin_derivative(Torques(magnet, along), spins, [0, 7])[0]
        torch.testing.assert_close(found, whole, atol=5e-6, rtol=0)


def test_the_response_of_electrons_to_turned_spins_is_symmetric(rng):
    """It is the Hessian of Ω on the spheres."""
    electrons = ExactForceField(skyrmion_magnet(triangular(6)), Dense(mu=-3.5, kT=0.3)).electrons
    spins = random_spins(electrons.lattice, rng)
    change, v = spin_derivative(electrons, spins, [3, 20])
    there, back = change[0][:, 20] @ v[1].T, change[1][:, 3] @ v[0].T
    assert float(there.abs().max()) > 1e-4
    torch.testing.assert_close(there, back.T, atol=1e-9, rtol=0)


def test_spins_must_have_unit_length(magnet, rng):
    with pytest.raises(ValueError, match="unit spins"):
        spin_derivative(magnet, 1.1 * random_spins(magnet.lattice, rng), [0])


# --- how far it reaches -----------------------------------------------------------------------------------------------


def test_exchange_is_seen_as_far_as_it_goes(magnet, rng):
    spins = random_spins(magnet.lattice, rng, 4)
    found = response(magnet, spins, rng=rng, spins=True)
    assert found.reach == 1.0 and not found.whole and not found.spread_out
    # |P_i P_j|² = 1 + (S_i · S_j)², of which the mean over random spins is 4/3.
    assert float(found.profile.sel(r=1.0, method="nearest")) == pytest.approx(J * np.sqrt(4 / 3), rel=0.1)


def test_the_floor_of_exchange_among_random_spins_is_the_torque_of_its_neighbours(magnet, rng):
    """Six neighbours of variance 1/3 a component; of their sum two parts in three are normal to the spin."""
    spins = random_spins(magnet.lattice, rng, 40)
    floor = truncation(magnet, spins, [0.0, 1.0, 2.0], rng=rng, samples=1000, candidates=1, spins=True)
    value, error = float(floor["floor"][0]), float(floor["error"][0])
    assert abs(value - J * np.sqrt(6 / 3 * 2 / 3)) < 4 * error
    assert float(floor["largest"][1:].max()) < 1e-14


def test_surroundings_that_are_turned_continue_as_they_are(rng):
    """Spirals of all axes and senses are one texture: turned onto each other they leave no seam."""
    lattice = triangular(12)
    x = np.pi / 3 * torch.from_numpy(lattice.positions[:, 0])
    spiral = torch.stack([x.cos(), x.sin(), 0 * x], -1)
    turned = spiral @ torch.linalg.qr(torch.randn(10, 3, 3, generator=rng, dtype=torch.float64))[0]
    far = ClassicalForceField(Heisenberg(lattice, J=(0.0, 0.0, J)))
    seams = [
        float(truncation(far, turned, [1.0], rng=rng, samples=20, spins=True, turn=turn)["floor"][0])
        for turn in (False, True)
    ]
    assert seams[1] < 1e-12 < 1e-2 < seams[0]
    whole = examine_locality(far, turned, spins=True, turn=True, radii=[1.0], rng=rng, samples=20)
    assert float(whole.data["floor"][0]) < 1e-12


def test_correlations_of_spins_are_those_about_all_peaks_of_the_structure_factor(rng):
    """Skyrmions have six peaks: about one of them alone they would look like noise."""
    lattice = triangular(24)
    assert ensemble_length(random_spins(lattice, rng, 20), lattice, spins=True) == 0.0
    x = np.pi / 3 * torch.from_numpy(lattice.positions[:, 0])
    spiral = torch.stack([x.cos(), x.sin(), 0 * x], -1)
    assert ensemble_length(spiral[None], lattice, spins=True) > 1e6
    lengths = []
    for width in (0.1, 0.5, 2.0):
        phase = width * torch.randn(8, lattice.n_sites, generator=rng, dtype=torch.float64)
        textures = torch.stack([skyrmion_lattice(lattice, phase=p.numpy()) for p in phase])
        lengths.append(ensemble_length(textures, lattice, spins=True))
    assert np.all(np.diff(lengths) < -1) and lengths[-1] > 1
    assert ensemble_length(skyrmion_lattice(lattice)[None], lattice) < 0.3 * lengths[0]


# --- the examination --------------------------------------------------------------------------------------------------


def test_errors_are_those_of_torques(magnet, rng):
    """A model that is wrong by a tenth of the exchange, and by anything along the spins."""
    spins = random_spins(magnet.lattice, rng, 8)
    models = {"weak": Short(magnet.lattice, 0.9), "along": Torques(magnet, 5.0)}
    probes = {"1": Short(magnet.lattice, 0.5), "again": Short(magnet.lattice, 0.8)}
    found = examine_locality(magnet, spins, models=models, probes=probes, spins=True, rng=rng, samples=8)
    torque = tangent(magnet(spins).force, spins)
    rms = float(torque.square().mean().sqrt())
    np.testing.assert_allclose(found.data["error"].sel(model="weak"), 0.1 * rms, rtol=1e-9)
    assert float(found.data["error"].sel(model="along")) < 1e-12
    assert list(found.data["size"].values) == [1.0, 1.0]
    np.testing.assert_allclose(found.data["probe_error"].sel(probe=["1", "again"]), [0.5 * rms, 0.2 * rms], rtol=1e-9)
    assert float(found.data["rms"]) == pytest.approx(rms)
    given = examine_locality(
        magnet, spins, truth=magnet(spins).force, models=models, spins=True, rng=rng, samples=8
    )  # all of H is as good as the part that turns
    np.testing.assert_allclose(given.data["error"], found.data["error"], atol=1e-12)


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ({1.0: 0.3, 2.0: 0.2, 4.0: 0.1}, "still falls, from 0.2 at 2 to 0.1 at 4, the largest"),
        ({1.0: 0.3, 2.0: 0.1, 4.0: 0.099, 6.0: 0.098}, "0.3 at a cutoff of 1 and 0.1 at 2; beyond"),
        ({1.0: 0.3, 2.0: 0.1, 4.0: 0.2}, "0.1 at 2; beyond"),
        ({1.0: 0.1, 2.0: 0.1}, "a larger one does not help"),
    ],
)
def test_growth_is_put_into_words(errors, words):
    found = assess_growth({f"{size:g}": (size, error) for size, error in reversed(errors.items())})
    assert words in found.words
    assert np.all(np.diff(found.data["probe_size"]) > 0)


def test_growth_needs_several_sizes():
    assert assess_growth({"a": (1.0, 0.1), "b": (1.0, 0.2)}).sentences == ()
    with pytest.raises(ValueError, match="nothing to assess"):
        assess_growth({})
    with pytest.raises(ValueError, match="finite"):
        assess_growth({"a": (1.0, float("nan"))})
