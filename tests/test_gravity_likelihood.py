"""The likelihood against sums over all frequencies written out here, and against quadrature."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from nearsight.gravity import (
    DETECTORS,
    Coupling,
    GaussBonnet,
    Likelihood,
    Polarisations,
    Power,
    Prior,
    Strain,
    TaylorF2,
    Uniform,
    advanced_ligo,
    frequency_grid,
    inject,
    project,
    sidereal_time,
)

F = frequency_grid(20.0, 400.0, duration=8.0)
TWO = [DETECTORS["H1"], DETECTORS["L1"]]
WAVES = TaylorF2([GaussBonnet()])
KNOWN = {"chi_2": 0.0, "inclination": 0.4, "ra": 1.0, "dec": -0.5, "psi": 0.2}
FREE = {"chirp_mass": Uniform(8.2, 8.8), "mass_ratio": Uniform(0.3, 1.0), "chi_1": Uniform(-0.4, 0.4)}
FREE |= {"sqrt_alpha": Coupling(most=1.6)}
EXTRINSIC = {"distance": Power(2, 150, 900), "time": Uniform(6.995, 7.005), "phase": Uniform(0, 2 * math.pi)}
TRUTH = torch.tensor([8.5, 0.6, 0.1, 0.3, 450.0, 7.001, 0.8], dtype=torch.float64)
ALL = Prior({**FREE, **EXTRINSIC, **KNOWN})


@cache
def strain(seed: int | None = 1) -> Strain:
    rng = None if seed is None else torch.Generator().manual_seed(seed)
    one = {name: value[0] for name, value in ALL.source(TRUTH[None]).items()}
    return inject(one, WAVES, TWO, advanced_ligo(F) * torch.tensor([[1.0], [1.3]]), F, gps=1.2e9, rng=rng)


@cache
def likelihood(*marginal: str) -> Likelihood:
    integrated = {name: EXTRINSIC[name] for name in marginal}
    free = {name: density for name, density in {**FREE, **EXTRINSIC}.items() if name not in marginal}
    return Likelihood(strain(), WAVES, Prior({**free, **KNOWN}, integrated))


def direct(theta: Tensor, held: Strain) -> np.ndarray:
    """-½ Σ (|d - h|² - |d|²) / σ² with σ² of real and imaginary parts, over all frequencies, in NumPy."""
    source = ALL.source(theta)
    h = project(WAVES(F, source), F, source, TWO, sidereal_time(held.gps)).numpy()
    d, variance = held.data.numpy(), held.asd.numpy() ** 2 * 8.0 / 4
    terms = (np.abs(d - h) ** 2 - np.abs(d) ** 2) / variance
    return -terms[:, np.isfinite(held.asd.numpy())].sum(-1) / 2 if terms.ndim == 3 else np.nan


def near(n: int, seed: int = 2) -> Tensor:
    """Parameters about the truth, some of them likely."""
    rng = torch.Generator().manual_seed(seed)
    spread = torch.tensor([0.01, 0.05, 0.05, 0.1, 50.0, 5e-4, 0.5], dtype=torch.float64)
    theta = TRUTH + spread * torch.randn(n, 7, generator=rng, dtype=torch.float64)
    theta[:, 1], theta[:, 3] = theta[:, 1].clamp(0.3, 1), theta[:, 3].abs()
    return theta


def columns(prior: Prior, theta: Tensor) -> Tensor:
    return theta[:, [ALL.names.index(name) for name in prior.names]]


def test_bands_sum_as_all_frequencies_do() -> None:
    held = likelihood()
    assert len(held.bands.nodes) < len(F) / 2
    theta = torch.cat([near(100), ALL.sample(100, torch.Generator().manual_seed(3))])
    wanted = torch.from_numpy(direct(theta, strain()))
    torch.testing.assert_close(held.exact(theta), wanted, rtol=1e-9, atol=1e-7)
    torch.testing.assert_close(held(theta), wanted, rtol=1e-3, atol=1e-2)
    assert held.errors(theta)["bands"] == pytest.approx(float((held(theta) - wanted).abs().max()), rel=1e-3)
    focused = Likelihood(strain(), WAVES, held.prior, around=theta[:100])
    assert len(focused.bands.nodes) < len(held.bands.nodes)
    torch.testing.assert_close(focused(theta[:100]), wanted[:100], rtol=0, atol=1e-2)


def test_the_truth_has_half_the_squared_snr() -> None:
    held = Likelihood(strain(None), WAVES, ALL)
    squared = float(strain(None).whitened.abs().square().sum())
    assert squared > 100
    assert float(held(TRUTH[None])) == pytest.approx(squared / 2, rel=1e-4)
    assert float(held(near(50)).max()) <= squared / 2


def test_bands_that_are_not_used_do_not_count() -> None:
    cut = strain().without(58.0, 66.0).without(100.0, 140.0, "L1")
    loud = Strain(F, torch.where(cut.asd.isfinite(), cut.data, 1e3 + 0j), cut.asd, TWO, cut.gps)
    theta = near(20)
    wanted = torch.zeros(20, dtype=torch.float64)
    source = ALL.source(theta)
    h = project(WAVES(F, source), F, source, TWO, sidereal_time(cut.gps))
    for k in range(2):
        used = cut.asd[k].isfinite()
        d, variance = strain().data[k, used], strain().asd[k, used] ** 2 * 8.0 / 4
        wanted -= (((d - h[:, k, used]).abs() ** 2 - d.abs() ** 2) / variance).sum(-1) / 2
    torch.testing.assert_close(Likelihood(loud, WAVES, ALL)(theta), wanted, rtol=0, atol=1e-2)


@pytest.mark.parametrize("name", ["phase", "time", "distance"])
def test_what_is_marginal_is_integrated(name: str) -> None:
    held, theta, density = likelihood(name), near(8), EXTRINSIC[name]
    steps = 1001
    x = torch.linspace(density.low, density.high, steps, dtype=torch.float64)
    column = ALL.names.index(name)
    for row, found in zip(theta, held(columns(held.prior, theta)), strict=True):
        line = row.repeat(steps, 1)
        line[:, column] = x
        log = likelihood()(line)
        peak = float(log.max())
        if name == "time" and not 50 < int(log.argmax()) < 950:
            continue  # at an end of the range the midpoint rule converges slowly, which errors(...) tells
        weight = torch.exp(log - peak + density.log_density(x)).numpy()
        assert float(found) == pytest.approx(peak + math.log(integrate.simpson(weight, x.numpy())), abs=0.02)


def test_all_three_are_integrated_at_once() -> None:
    """Integrals one in another: phase in closed form, time and distance by quadrature of the likelihood with phase."""
    held, row = likelihood("phase", "time", "distance"), near(1)[0]
    times = torch.linspace(6.995, 7.005, 201, dtype=torch.float64)
    distances = torch.linspace(150, 900, 151, dtype=torch.float64)
    grid = torch.cartesian_prod(times, distances)
    prior = likelihood("phase").prior
    line = columns(prior, row.repeat(len(grid), 1))
    line[:, prior.names.index("time")], line[:, prior.names.index("distance")] = grid.T
    inner = Likelihood(strain(), WAVES, prior, around=line)
    log = inner(line) + EXTRINSIC["time"].log_density(grid[:, 0]) + EXTRINSIC["distance"].log_density(grid[:, 1])
    peak = float(log.max())
    table = torch.exp(log - peak).reshape(201, 151).numpy()
    whole = integrate.simpson(integrate.simpson(table, distances.numpy()), times.numpy())
    assert float(held(columns(held.prior, row[None]))) == pytest.approx(peak + math.log(whole), abs=0.02)
    assert held.errors(columns(held.prior, row[None]))["time"] < 1e-3


def test_what_was_integrated_is_recovered() -> None:
    """Draws of phase, time and distance at one θ have the density that the likelihood gives them."""
    n, row, prior = 1000, near(1, seed=5), likelihood("phase", "time", "distance").prior
    held = Likelihood(strain(), WAVES, prior, distances=60)
    draws = held.recover(columns(held.prior, row).repeat(n, 1), torch.Generator().manual_seed(6))
    assert sorted(draws) == ["distance", "phase", "time"]
    rng = torch.Generator().manual_seed(7)
    full = row.repeat(20_000, 1)
    for name, found in draws.items():
        low, high = (EXTRINSIC[name].to_unit(end) for end in (found.min(), found.max()))
        width = (high - low) * 0.02  # a box a little larger than what was drawn holds all but 1/n
        low, high = (low - width).clamp(min=0), (high + width).clamp(max=1)
        u = low + (high - low) * torch.rand(len(full), generator=rng, dtype=torch.float64)
        full[:, ALL.names.index(name)] = EXTRINSIC[name].from_unit(u)
    weights = torch.softmax(Likelihood(strain(), WAVES, ALL, around=full[:200])(full), 0)
    effective = 1 / float(weights.square().sum())
    assert effective > 200
    for name, found in draws.items():
        x = full[:, ALL.names.index(name)]
        order = x.argsort()
        below = weights[order].cumsum(0)
        ours = torch.searchsorted(found.sort().values, x[order].contiguous(), right=True) / n
        distance = float((ours - below).abs().max())
        assert stats.kstwobign.sf(distance * math.sqrt(1 / (1 / n + 1 / effective))) > 1e-3, name


def test_outside_of_the_prior_nothing_is_likely() -> None:
    held = likelihood("phase")
    theta = columns(held.prior, near(3))
    theta[0, 1], theta[1, 3] = 1.2, 3.0
    assert held.log_posterior(theta)[:2].eq(-math.inf).all()
    both = held.prior.log_density(theta[2:]) + held(theta[2:])
    torch.testing.assert_close(held.log_posterior(theta)[2:], both)


class TwoModes:
    """A waveform with a second mode, which does not turn with the phase as the first does."""

    def __call__(self, frequencies: Tensor, source: dict[str, Tensor]) -> Polarisations:
        plus, cross = WAVES(frequencies, source)
        return Polarisations(plus * (1 + 0.1 * torch.exp(1j * source["phase"][..., None])), cross)


def test_what_cannot_be_integrated_is_refused() -> None:
    phase = {"phase": Uniform(0, 2 * math.pi)}
    free = {**FREE, "distance": 450.0, "time": 7.0}
    with pytest.raises(ValueError, match="closed form"):
        Likelihood(strain(), TwoModes(), Prior({**free, **KNOWN}, phase))
    with pytest.raises(ValueError, match="full turns"):
        Likelihood(strain(), WAVES, Prior({**free, **KNOWN}, {"phase": Uniform(0, 1.0)}))
    spin = {name: value for name, value in {**free, **KNOWN, "phase": 0.0}.items() if name != "chi_1"}
    with pytest.raises(ValueError, match="not over chi_1"):
        Likelihood(strain(), WAVES, Prior(spin, {"chi_1": Uniform(0, 0.9)}))
    with pytest.raises(ValueError, match="does not fit"):
        Likelihood(strain(), WAVES, Prior({**free, **KNOWN, "chirp_mass": Uniform(3, 9)}, phase))


def test_waveforms_without_an_expansion_are_summed_too() -> None:
    held = Likelihood(strain(), TwoModes(), ALL)
    theta = near(20)
    torch.testing.assert_close(held(theta), held.exact(theta), rtol=0, atol=0.15)
