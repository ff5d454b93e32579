"""Priors against quadrature, and the bound of small coupling."""

import itertools
import math

import pytest
import torch
from scipy import integrate, stats

from nearsight.gravity import (
    ComponentRatio,
    Cosine,
    Coupling,
    Density,
    Power,
    Prior,
    Sine,
    Uniform,
    masses,
    small_coupling_bound,
)
from nearsight.gravity.constants import SOLAR_MASS

KNOWN = {"chi_2": 0.0, "psi": 0.2, "time": 60.0, "ra": 1.0}
FREE = {
    "chirp_mass": Power(1, 2.4, 2.9),
    "mass_ratio": ComponentRatio(0.1, 0.6),
    "chi_1": Uniform(-0.5, 0.5),
    "distance": Power(2, 100, 600),
    "inclination": Sine(),
    "dec": Cosine(),
    "sqrt_alpha": Coupling(bodies=("black hole", "neutron star")),
}


def prior(**changed: object) -> Prior:
    return Prior({**FREE, **KNOWN, **changed}, {"phase": Uniform(0, 2 * math.pi)})


@pytest.mark.parametrize(
    "density",
    [Uniform(-1, 3), Power(2, 0, 5), Power(-1, 1, 50), Power(-1.5, 1, 9), Sine(0.2, 2), Cosine(), ComponentRatio(0.05)],
    ids=repr,
)
def test_densities_are_slopes_of_their_distributions(density: Density) -> None:
    for u in (0.0, 0.1, 0.5, 0.93, 1.0):
        x = density.from_unit(torch.tensor(u, dtype=torch.float64))
        assert float(density.to_unit(x)) == pytest.approx(u, abs=1e-12)
        grid = torch.linspace(density.low, float(x), 20_001, dtype=torch.float64)
        below = integrate.simpson(torch.exp(density.log_density(grid)), grid)
        assert below == pytest.approx(u, abs=1e-5)
    assert Density.from_config(density.config()) == density


def test_component_masses_are_uniform() -> None:
    """Between lines of constant m₁ the fraction of draws is the area of the region in the plane of masses."""
    theta = prior().sample(40_000, torch.Generator().manual_seed(1))
    first, second = (m[:, 0] / SOLAR_MASS for m in masses(prior().source(theta)))

    def area(low: float, high: float) -> float:
        def inside(m2: float, m1: float) -> float:
            chirp = (m1 * m2) ** 0.6 / (m1 + m2) ** 0.2
            return float(2.4 <= chirp <= 2.9 and 0.1 <= m2 / m1 <= 0.6)

        grid = torch.linspace(low, high, 601, dtype=torch.float64), torch.linspace(0.5, 4.5, 2001, dtype=torch.float64)
        m1, m2 = torch.meshgrid(*grid, indexing="ij")
        chirp = (m1 * m2) ** 0.6 / (m1 + m2) ** 0.2
        held = (chirp >= 2.4) & (chirp <= 2.9) & (m2 / m1 >= 0.1) & (m2 / m1 <= 0.6)
        return float(held.double().mean()) * (high - low)

    edges = [3.5, 5.0, 6.0, 7.5, 12.0]
    areas = [area(*pair) for pair in itertools.pairwise(edges)]
    counts = [int(((first > a) & (first <= b)).sum()) for a, b in itertools.pairwise(edges)]
    expected = [sum(counts) * a / sum(areas) for a in areas]
    assert sum(counts) == 40_000 and float(second.min()) > 0.5
    assert stats.chisquare(counts, expected).pvalue > 1e-3


@pytest.mark.parametrize("variable", ["sqrt_alpha", "alpha_squared"])
def test_the_unit_cube_is_the_prior(variable: str) -> None:
    """The Jacobian of θ(u) is 1/p, the map is a bijection."""
    held = prior(sqrt_alpha=Coupling(variable, bodies=("black hole", "neutron star")))
    u = 0.02 + 0.96 * torch.rand(20, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    theta = held.from_unit(u)
    torch.testing.assert_close(held.to_unit(theta), u, rtol=0, atol=1e-12)
    for row, log_density in zip(u, held.log_density(theta), strict=True):
        jacobian = torch.autograd.functional.jacobian(held.from_unit, row)
        assert float(torch.linalg.slogdet(jacobian).logabsdet + log_density) == pytest.approx(0, abs=1e-9)


def test_the_coupling_ends_at_the_lightest_black_hole() -> None:
    rng = torch.Generator().manual_seed(3)
    for bodies, which in ((("black hole", "neutron star"), 0), (("black hole", "black hole"), 1)):
        held = prior(sqrt_alpha=Coupling(bodies=bodies))
        theta = held.sample(2000, rng)
        bound = small_coupling_bound(masses(held.source(theta))[which][:, 0] / SOLAR_MASS)
        share = theta[:, -1] / bound
        assert float(share.max()) <= 1 and stats.kstest(share.numpy(), "uniform").pvalue > 1e-3
        theta[:, -1] = bound * 1.0001
        assert (held.log_density(theta) == -math.inf).all()
        theta[:, -1] = -1e-6
        assert (held.log_density(theta) == -math.inf).all()
    assert float(prior(sqrt_alpha=Coupling(most=0.3)).sample(500, rng)[:, -1].max()) <= 0.3


def test_outside_is_minus_infinity_and_weights_change_the_prior() -> None:
    by_root, by_square = (
        prior(sqrt_alpha=Coupling(name, bodies=("black hole", "neutron star")))
        for name in ("sqrt_alpha", "alpha_squared")
    )
    theta = by_root.sample(20_000, torch.Generator().manual_seed(4))
    for column in range(7):
        for value in (-1e3, 1e3, math.nan):
            outside = theta[:3].clone()
            outside[:, column] = value
            assert (by_root.log_density(outside) == -math.inf).all()
    weights = torch.exp(by_root.log_ratio(by_square, theta))
    u = by_square.to_unit(theta)[:, -1]  # uniform under the other prior
    mean = (weights * u).mean()
    assert abs(float(weights.mean()) - 1) < 4 * float(weights.std()) / len(u) ** 0.5
    assert abs(float(mean) - 0.5) < 4 * float((weights * u).std()) / len(u) ** 0.5


def test_a_prior_is_data() -> None:
    for held in (prior(), prior(sqrt_alpha=Coupling("alpha_squared", most=1.0)), prior().known(sqrt_alpha=0.0)):
        again = Prior.from_config(held.config())
        assert again.config() == held.config() and again.names == held.names
        rng = (torch.Generator().manual_seed(5) for _ in range(2))
        assert torch.equal(*(p.sample(7, r) for p, r in zip((held, again), rng, strict=True)))
    assert "sqrt_alpha" not in prior().known(sqrt_alpha=0.0).names
    source = prior().source(prior().sample(3, torch.Generator().manual_seed(6)), {"phase": torch.zeros(3)})
    assert float(source["phase"].abs().max()) == 0 and float(source["ra"][0]) == 1.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"chi_1": Uniform(-1, 0.5)}, "chi_1 must lie above -1"),
        ({"mass_ratio": Uniform(0.5, 1.2)}, "mass_ratio must lie above 0"),
        ({"chirp_mass": -2.0}, "chirp_mass must lie above 0"),
        ({"sqrt_alpha": Uniform(0, 1)}, "sqrt_alpha must be a Coupling"),
        ({"chi_1": Coupling()}, "density of sqrt_alpha"),
        ({"sqrt_alpha": -1.0}, "negative"),
        ({"phase": 0.0}, "given twice"),
    ],
)
def test_parameters_outside_of_the_model_are_refused(changed: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prior(**changed)
