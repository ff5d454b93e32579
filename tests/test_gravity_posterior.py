"""Weighted samples against Gaussians whose evidence and quantiles are known; coverage of the errors is counted."""

import math
from pathlib import Path

import pytest
import torch
from scipy import special, stats
from torch import Tensor

from nearsight.gravity import Coupling, Mixture, Posterior, Prior, Uniform, importance, nested, refine

KNOWN = {"chi_2": 0.0, "psi": 0.2, "time": 60.0, "ra": 1.0, "phase": 0.0, "inclination": 0.4, "dec": 0.1}
FREE = {"chirp_mass": Uniform(2.0, 3.0), "mass_ratio": Uniform(0.1, 0.9), "chi_1": Uniform(-0.5, 0.5)}
PRIOR = Prior({**FREE, **KNOWN, "distance": 100.0})
MEAN = torch.tensor([2.4, 0.5, 0.1], dtype=torch.float64)
ROOT = torch.tensor([[0.02, 0, 0], [0.03, 0.05, 0], [-0.05, 0.02, 0.04]], dtype=torch.float64)
LOG_EVIDENCE = 7.0 + 1.5 * math.log(2 * math.pi) + float(ROOT.diagonal().log().sum()) - math.log(0.8)


class Gaussian:
    """ln L = 7 - ½ |ROOT⁻¹ (θ - MEAN)|², far from the ends of the prior: everything is known."""

    prior = PRIOR

    def __init__(self) -> None:
        self.evaluations = 0

    def __call__(self, theta: Tensor) -> Tensor:
        self.evaluations += len(theta)
        return 7 - torch.linalg.solve(ROOT, (theta - MEAN).T).square().sum(0) / 2

    def log_posterior(self, theta: Tensor) -> Tensor:
        found = self.prior.log_density(theta)
        return torch.where(found.isfinite(), found + self(theta), found)

    def focused(self, theta: Tensor) -> "Gaussian":
        return self

    def plan(self) -> dict[str, str]:
        return {"event": "Gaussian"}


class Normal:
    """A normal proposal, wider than the posterior by a factor."""

    def __init__(self, width: float) -> None:
        self.density = torch.distributions.MultivariateNormal(MEAN, scale_tril=width * ROOT)
        self.root = width * ROOT

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        return MEAN + torch.randn(n, 3, generator=rng, dtype=torch.float64) @ self.root.T

    def log_prob(self, theta: Tensor) -> Tensor:
        return self.density.log_prob(theta)


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_errors_of_the_evidence_are_kept() -> None:
    """Of 400 runs, those within one and two standard errors are counted; so is the bias of the evidence."""
    runs = [importance(Gaussian(), Normal(1.5), 400, rng(k)) for k in range(400)]  # type: ignore[arg-type]
    z = torch.tensor([(p.log_evidence - LOG_EVIDENCE) / p.log_evidence_error for p in runs])
    for level, probability in ((1.0, 0.683), (2.0, 0.954)):
        assert stats.binomtest(int((z.abs() < level).sum()), 400, probability).pvalue > 1e-3
    ratio = torch.tensor([math.exp(p.log_evidence - LOG_EVIDENCE) for p in runs])
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / 20


def test_the_effective_number_has_the_error_it_is_given() -> None:
    runs = [importance(Gaussian(), Normal(1.5), 400, rng(k)) for k in range(200)]  # type: ignore[arg-type]
    effective = torch.tensor([p.effective for p in runs])
    # E[w]² / E[w²] of a Gaussian under one that is s times as wide, to the third power
    s2 = 1.5**2
    assert float(effective.mean()) == pytest.approx(400 * ((2 * s2 - 1) ** 0.5 / s2) ** 3, rel=0.05)
    told = torch.tensor([p.effective_error for p in runs])
    assert float(told.mean()) == pytest.approx(float(effective.std()), rel=0.3)


def test_the_tail_tells_weights_without_variance() -> None:
    for width, low, high in ((1.5, -1.0, 0.4), (0.6, 0.6, 3.0)):
        posterior = importance(Gaussian(), Normal(width), 20_000, rng(1))  # type: ignore[arg-type]
        assert low < posterior.tail < high
    log_weights = torch.distributions.Pareto(1.0, 1 / 0.8).icdf(torch.rand(50_000, generator=rng(2))).log()
    pareto = Posterior(PRIOR, torch.zeros(50_000, 3), log_weights.double(), 0.0, 0.0)
    assert pareto.tail == pytest.approx(0.8, abs=0.12)
    assert Posterior(PRIOR, torch.zeros(100, 3), torch.zeros(100), 0.0, 0.0).tail == -math.inf


def test_quantiles_and_bounds_are_those_of_the_posterior() -> None:
    width = float((ROOT @ ROOT.T)[1, 1].sqrt())
    z = []
    for k in range(100):
        posterior = importance(Gaussian(), Normal(1.3), 1000, rng(k))  # type: ignore[arg-type]
        bound, error = posterior.bound("mass_ratio", 0.9)
        z.append((bound - 0.5 - width * special.ndtri(0.9)) / error)
    assert stats.binomtest(sum(abs(x) < 1 for x in z), 100, 0.683).pvalue > 1e-3
    low, middle, high = posterior.quantiles("mass_ratio")
    assert low < middle < high == pytest.approx(0.5 + width * 1.645, abs=0.02)
    samples = posterior.samples(4000, rng(1))
    assert float(samples[:, 1].mean()) == pytest.approx(0.5, abs=5 * width / 500**0.5)


def test_another_prior_is_a_change_of_weights() -> None:
    """√α uniform, and α² uniform: importance sampling with each gives what reweighting says."""

    class Bounded(Gaussian):
        def __init__(self, variable: str) -> None:
            super().__init__()
            coupling = Coupling(variable, most=1.5, bodies=("black hole", "neutron star"))
            self.prior = Prior({**KNOWN, "distance": 100.0, **FREE, "sqrt_alpha": coupling})

        def __call__(self, theta: Tensor) -> Tensor:
            return -((theta[:, -1] / 0.8) ** 4)

    by_root, by_square = (
        importance(held, held.prior, 20_000, rng(3))  # type: ignore[arg-type]
        for held in (Bounded("sqrt_alpha"), Bounded("alpha_squared"))
    )
    changed = by_root.reweighted(by_square.prior)
    difference, error = changed.bayes_factor(by_square)
    assert abs(difference) < 4 * error and error < 0.05
    for one, two in zip(changed.quantiles("sqrt_alpha"), by_square.quantiles("sqrt_alpha"), strict=True):
        assert one == pytest.approx(two, rel=0.05)
    assert by_root.bound("sqrt_alpha")[0] < by_square.bound("sqrt_alpha")[0]


def test_a_posterior_is_a_file(tmp_path: Path) -> None:
    posterior = importance(Gaussian(), Normal(1.3), 200, rng(4))  # type: ignore[arg-type]
    posterior.save(tmp_path / "p.safetensors")
    again = Posterior.load(tmp_path / "p.safetensors")
    assert torch.equal(again.theta, posterior.theta) and torch.equal(again.log_weights, posterior.log_weights)
    assert (again.log_evidence, again.log_evidence_error) == (posterior.log_evidence, posterior.log_evidence_error)
    assert again.prior.config() == PRIOR.config() and again.evaluations == 200


def test_refinement_finds_the_posterior_from_the_prior() -> None:
    held = Gaussian()
    posterior = refine(held, PRIOR, 4000, rng(5), pilot=1000, moves=5)  # type: ignore[arg-type]
    assert posterior.efficiency > 0.3 > 20 * importance(held, PRIOR, 4000, rng(5)).efficiency  # type: ignore[arg-type]
    assert abs(posterior.log_evidence - LOG_EVIDENCE) < 4 * posterior.log_evidence_error < 0.2
    assert posterior.evaluations == pytest.approx(held.evaluations, rel=0.5)
    for k, name in enumerate(PRIOR.names):
        width = float((ROOT @ ROOT.T)[k, k].sqrt())
        for found, level in zip(posterior.quantiles(name), (0.05, 0.5, 0.95), strict=True):
            assert found == pytest.approx(float(MEAN[k]) + width * special.ndtri(level), abs=0.15 * width)


def test_refinement_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    options = {"pilot": 500, "moves": 2, "efficiency": 1.0, "walks": 2}
    whole = refine(Gaussian(), PRIOR, 300, rng(6), **options)  # type: ignore[arg-type]
    first = refine(Gaussian(), PRIOR, 300, rng(6), folder=tmp_path, **options)  # type: ignore[arg-type]
    for path in sorted(tmp_path.glob("*.safetensors"))[3:]:
        path.unlink()
    held = Gaussian()
    second = refine(held, PRIOR, 300, rng(6), folder=tmp_path, **options)  # type: ignore[arg-type]
    for other in (first, second):
        assert torch.equal(other.theta, whole.theta) and torch.equal(other.log_weights, whole.log_weights)
    assert held.evaluations < whole.evaluations
    with pytest.raises(ValueError, match="another event: seed"):
        refine(Gaussian(), PRIOR, 300, rng(7), folder=tmp_path, **options)  # type: ignore[arg-type]


def test_mixtures_are_densities() -> None:
    """Of a mixture fitted to a curved sheet, mean weights of the prior over it are one."""
    from nearsight.gravity.mixture import fit_mixture, from_normal, to_normal

    z = torch.randn(3000, 3, generator=rng(8), dtype=torch.float64) * torch.tensor([0.02, 0.5, 0.6])
    z[:, 0] += 0.3 * z[:, 1] ** 2 - 0.2 * z[:, 1] * z[:, 2]
    mixture = fit_mixture(PRIOR, z, torch.ones(3000, dtype=torch.float64), 8, rng(9))
    assert isinstance(mixture, Mixture) and float(mixture.shear.to_flat(z)[:, 0].std()) < 0.03
    torch.testing.assert_close(mixture.shear.from_flat(mixture.shear.to_flat(z)), z)
    torch.testing.assert_close(to_normal(PRIOR, from_normal(PRIOR, z)), z, rtol=0, atol=1e-8)
    theta = PRIOR.sample(100_000, rng(10))
    ratio = torch.exp(mixture.log_prob(theta) - PRIOR.log_density(theta))
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / 100_000**0.5
    drawn = mixture.sample(20_000, rng(11))
    assert PRIOR.log_density(drawn).isfinite().all()
    for k in range(3):  # draws have that density: means of u over draws, and over the prior with weights
        u = PRIOR.to_unit(theta)[:, k]
        weighted, plain = float((ratio * u).mean() / ratio.mean()), float(PRIOR.to_unit(drawn)[:, k].mean())
        assert weighted == pytest.approx(plain, abs=4 * float((ratio * (u - plain)).std()) / 100_000**0.5 + 0.01)
    walls = torch.tensor([[2.5, 0.95, 0.0], [1.9, 0.5, 0.0]], dtype=torch.float64)
    assert (mixture.log_prob(walls) == -math.inf).all()


def test_nested_sampling_agrees() -> None:
    pytest.importorskip("dynesty")
    found = nested(Gaussian(), live=60, dlogz=0.5, seed=1)  # type: ignore[arg-type]
    assert abs(found.log_evidence - LOG_EVIDENCE) < 4 * found.log_evidence_error < 2.5
    width = float((ROOT @ ROOT.T)[1, 1].sqrt())
    assert found.quantiles("mass_ratio")[1] == pytest.approx(0.5, abs=0.3 * width)
    assert found.evaluations > 500


def test_a_proposal_without_the_prior_is_refused() -> None:
    class Elsewhere(Normal):
        def sample(self, n: int, rng: torch.Generator) -> Tensor:
            return super().sample(n, rng) + 10

    with pytest.raises(ValueError, match="within the prior"):
        importance(Gaussian(), Elsewhere(1.0), 100, rng(1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="far from the posterior"):
        refine(Gaussian(), PRIOR, 100, rng(1), pilot=100, rounds=1)  # type: ignore[arg-type]
