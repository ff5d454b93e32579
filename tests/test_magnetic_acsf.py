"""The magnetic symmetry functions of the thesis: against its sums written out, and what a chirality does."""

import numpy as np
import pytest
import torch

from nearsight.descriptors import MagneticACSF
from nearsight.fields import random_spins, scalar, spin
from nearsight.forcefields import LearnedForceField
from nearsight.lattices import PointCloud, Structures, random_cloud
from nearsight.networks import MLP
from test_spin_message_passing import CELL, orthogonal

SMALL = {"radii": (0.5, 1.4, 5), "width": 0.15, "pairs": (0.7, 1.4), "pair_width": 0.6}


def open_cloud(rng, n=9):
    return random_cloud(n, 0.8, 0.5, rng=rng, periodic=False)


def written_out(descriptor, cloud, S, chirality=False):
    """Equations 4.9 to 4.16, sum by sum; the ring after d_n for k where there is a chirality."""
    Rc, x = descriptor.cutoff, cloud.positions

    def F2(R, d, w):
        return np.exp(-(((R - d) / w) ** 2)) * 0.5 * (np.cos(np.pi * R / Rc) + 1) * (Rc >= R)

    rings, w, w2 = descriptor.rings, descriptor.width, descriptor.pair_width
    rows = []
    for i in range(len(x)):
        near = [j for j in range(len(x)) if j != i and np.linalg.norm(x[j] - x[i]) <= Rc]
        R = {j: np.linalg.norm(x[j] - x[i]) for j in near}
        row = [sum(F2(R[j], d, w) * (S[i] @ S[j]) for j in near) for d in rings[:-1]]
        for kind in ("bond", "chirality") if chirality else ("bond",):
            for n, d in enumerate(rings[:-1]):
                for sign in (1, -1):
                    for d2 in descriptor.pairs:
                        total = 0.0
                        for j in near:
                            for k in near:
                                cosine = (x[j] - x[i]) @ (x[k] - x[i]) / (R[j] * R[k])
                                other = d if kind == "bond" else rings[n + 1]
                                F3 = (1 + sign * cosine) * F2(R[j], d, w) * F2(R[k], other, w)
                                F3 *= F2(np.linalg.norm(x[j] - x[k]), d2, w2)
                                total += F3 * (S[j] @ S[k] if kind == "bond" else S[i] @ np.cross(S[j], S[k]))
                        row.append(total)
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("chirality", [False, True])
def test_features_are_the_sums_of_the_thesis(chirality, rng):
    cloud = open_cloud(rng)
    S = random_spins(cloud, rng)
    descriptor = MagneticACSF(cloud, spin(time_reversal=False), 1.6, chirality=chirality, **SMALL)
    expected = written_out(descriptor, cloud, S.numpy(), chirality)
    np.testing.assert_allclose(descriptor(S).numpy(), expected, atol=1e-7)  # weights below 1e-8 are left out
    assert np.abs(expected).max() > 0.1


def test_there_are_as_many_as_in_the_thesis(rng):
    cloud = random_cloud(40, 0.8, 0.5, rng=rng)
    assert MagneticACSF(cloud, spin()).features == 250
    assert MagneticACSF(cloud, spin(time_reversal=False), chirality=True).features == 450


def test_a_chirality_breaks_time_reversal_and_its_square_keeps_it(rng):
    cloud = open_cloud(rng, 16)
    S = random_spins(cloud, rng)
    odd = MagneticACSF(cloud, spin(time_reversal=False), 1.6, chirality=True, **SMALL)
    even = MagneticACSF(cloud, spin(), 1.6, chirality=True, **SMALL)
    bonds, count = MagneticACSF(cloud, spin(), 1.6, **SMALL), 5 + 20
    torch.testing.assert_close(bonds(-S), bonds(S), atol=1e-12, rtol=0)
    torch.testing.assert_close(even(-S), even(S), atol=1e-12, rtol=0)
    torch.testing.assert_close(odd(-S)[:, count:], -odd(S)[:, count:], atol=1e-12, rtol=0)
    assert float(odd(S)[:, count:].abs().max()) > 1e-2
    torch.testing.assert_close(even(S)[:, count:], odd(S)[:, count:].square())
    flat = S * torch.tensor([1.0, 1.0, 0.0])  # coplanar spins have no chirality
    assert float(odd(flat)[:, count:].abs().max()) < 1e-12


def test_features_do_not_see_rotations_reflections_and_the_order_of_sites(rng):
    x = np.random.default_rng(0).uniform(0, 1, (24, 3)) @ CELL
    cloud = PointCloud(x, CELL)
    S = random_spins(cloud, rng)
    descriptor = MagneticACSF(cloud, spin(), 1.4, chirality=True, **SMALL)
    features = descriptor(S)
    order = np.random.default_rng(1).permutation(24)
    for seed in range(3):
        g, R = orthogonal(seed), torch.from_numpy(orthogonal(seed + 10))
        moved = PointCloud(x[order] @ g.T + 0.2, CELL @ g.T)
        torch.testing.assert_close(descriptor.on(moved)((S @ R.T)[order]), features[order], atol=1e-10, rtol=0)


def test_many_structures_in_one_batch_are_those_alone(rng):
    """Beyond the size at which crystals are cut into tiles."""
    clouds = Structures([random_cloud(n, 0.8, 0.5, rng=rng) for n in (20, 31)])
    forcefield = LearnedForceField(MagneticACSF(clouds, spin(), 1.4, **SMALL), MLP((6,))).double().eval()
    S = random_spins(clouds, rng, 400)
    together = forcefield(S)
    for part, spins, force in zip(clouds.structures, clouds.split(S), clouds.split(together.force), strict=True):
        torch.testing.assert_close(forcefield.on(part)(spins[:3]).force, force[:3], atol=1e-11, rtol=0)


def test_what_is_refused(rng):
    cloud = open_cloud(rng)
    with pytest.raises(ValueError, match="are for spins"):
        MagneticACSF(cloud, scalar())
    with pytest.raises(ValueError, match="three components"):
        MagneticACSF(cloud, spin(components=2), chirality=True)
    with pytest.raises(ValueError, match="several species"):
        MagneticACSF(PointCloud([[0.0, 0.0], [1.0, 0.0]], species=("a", "b")), spin())
