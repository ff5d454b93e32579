"""Posterior flows against posteriors that are known: normal ones, and one of two modes."""

import math
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from nearsight.analysis import calibration, expected_coverage
from nearsight.gravity import PosteriorFitOptions, PosteriorFlow, Prior, Uniform, fit_posterior

KNOWN = dict.fromkeys(("chi_1", "chi_2", "inclination", "phase", "ra", "dec", "psi", "time"), 0.0)
TWO = Prior(KNOWN | {"mass_ratio": 0.5, "chirp_mass": Uniform(10.0, 14.0), "distance": Uniform(100.0, 300.0)})
ONE = Prior(KNOWN | {"mass_ratio": 0.5, "chirp_mass": 10.0, "distance": Uniform(100.0, 300.0)})
SMALL = {"transforms": 2, "hidden": (32, 32), "width": 32, "blocks": 1, "context": 16}
OPTIONS = PosteriorFitOptions(
    steps=300, batch_size=256, learning_rate=5e-3, warmup=20, average=0.97, validate_every=100, held_out=1000
)
QUIET = {"progress": False}
MIX = torch.tensor([[1.0, 0.4], [-0.3, 0.8], [0.5, 0.5], [0.1, -1.0]], dtype=torch.float64)
NOISE = 0.2


def linear(n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Data that are linear in the parameters, with normal noise."""
    theta = TWO.sample(n, rng)
    noise = torch.randn(n, len(MIX), generator=rng, dtype=torch.float64)
    return theta, (2 * TWO.to_unit(theta) - 1) @ MIX.T + NOISE * noise


def log_likelihood(theta: Tensor, data: Tensor) -> Tensor:
    return -(((2 * TWO.to_unit(theta) - 1) @ MIX.T - data) ** 2).sum(-1) / (2 * NOISE**2)


def folded(n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Data that do not tell the sign of what they measure."""
    theta = ONE.sample(n, rng)
    return theta, (2 * ONE.to_unit(theta) - 1).abs() + 0.1 * torch.randn(n, 1, generator=rng, dtype=torch.float64)


def efficiency(log_weights: Tensor) -> float:
    w = (log_weights - log_weights.max()).exp()
    return float(w.sum() ** 2 / (w**2).sum() / len(w))


@pytest.fixture(scope="module")
def trained() -> PosteriorFlow:
    return fit_posterior(PosteriorFlow(TWO, 4, **SMALL), linear, options=OPTIONS, **QUIET)


@torch.no_grad()
def test_a_normal_posterior_is_learned(trained: PosteriorFlow) -> None:
    """Mean and covariance of the posterior, which is normal where the prior is flat, and the weights of samples."""
    rng = torch.Generator().manual_seed(1)
    theta = torch.tensor([12.3, 190.0], dtype=torch.float64)
    data = (2 * TWO.to_unit(theta) - 1) @ MIX.T
    covariance = NOISE**2 * torch.linalg.inv(MIX.T @ MIX) / 4
    drawn = trained.sample(20_000, data, rng)
    u = TWO.to_unit(drawn)
    width = covariance.diag().sqrt()
    assert float(((u.mean(0) - TWO.to_unit(theta)) / width).abs().max()) < 0.25
    scale = float(width.square().max())
    assert torch.allclose(u.T.cov(), covariance, atol=0.35 * scale)
    weights = log_likelihood(drawn, data) + TWO.log_density(drawn) - trained.log_prob(drawn, data)
    assert efficiency(weights) > 0.8
    weighted = u.T.cov(aweights=(weights - weights.max()).exp())
    assert torch.allclose(weighted, covariance, atol=0.05 * scale)
    evidence = float(torch.logsumexp(weights, 0)) - math.log(len(drawn))
    exact = 0.5 * math.log(float(torch.linalg.det(2 * math.pi * covariance)))  # the prior of u is one
    assert evidence == pytest.approx(exact, abs=0.02)


def test_a_learned_posterior_is_calibrated(trained: PosteriorFlow) -> None:
    rng = torch.Generator().manual_seed(2)
    theta, data = linear(300, rng)
    drawn = trained.sample(200, data, rng).transpose(0, 1).numpy()
    found = calibration(theta.numpy(), drawn, rng=rng, names=TWO.names)
    assert float(found.combined) > 1e-3 and float(expected_coverage(theta.numpy(), drawn, rng=rng).p_value) > 1e-3
    assert float(abs(found.scatter - 1).max()) < 0.15


def test_two_modes_are_learned_with_their_weights() -> None:
    rng = torch.Generator().manual_seed(3)
    flow = PosteriorFlow(ONE, 1, transforms=3, hidden=(32, 32), width=32, blocks=1, context=16, rng=rng)
    fit_posterior(flow, folded, options=OPTIONS.model_copy(update={"steps": 400}), **QUIET)
    x = 2 * ONE.to_unit(flow.sample(20_000, torch.tensor([0.6]), rng)) - 1
    assert float((x > 0).double().mean()) == pytest.approx(0.5, abs=0.05)
    for side in (-1, 1):
        mode = x[x.sign() == side]
        assert float(mode.mean()) == pytest.approx(0.6 * side, abs=0.03)
        assert float(mode.std()) == pytest.approx(0.1, rel=0.2)


@torch.no_grad()
def test_densities_are_normalised_and_end_with_the_prior(trained: PosteriorFlow) -> None:
    edge = (2 * TWO.to_unit(torch.tensor([10.1, 295.0], dtype=torch.float64)) - 1) @ MIX.T
    n = 400
    u = (torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64)] * 2) + 0.5) / n
    density = trained.log_prob(TWO.from_unit(u), edge).exp() * 4.0 * 200.0
    assert float(density.mean()) == pytest.approx(1.0, abs=5e-3)
    outside = torch.tensor([[9.99, 200.0], [12.0, 301.0]], dtype=torch.float64)
    assert trained.log_prob(outside, edge).tolist() == [-math.inf] * 2
    drawn = trained.sample(5000, edge, torch.Generator().manual_seed(1))
    assert TWO.log_density(drawn).isfinite().all()
    assert float((TWO.to_unit(drawn)[:, 0] < 0.02).double().mean()) > 0.05  # the posterior reaches the edge


@torch.no_grad()
def test_an_untrained_flow_is_the_prior() -> None:
    flow = PosteriorFlow(TWO, 4, **SMALL)
    with pytest.raises(ValueError, match="never seen data"):
        flow.sample(1, torch.zeros(4), torch.Generator())
    theta, data = linear(500, torch.Generator().manual_seed(4))
    flow.embedding.calibrate(data)
    assert torch.allclose(flow.log_prob(theta, data), TWO.log_density(theta), atol=1e-4)


@torch.no_grad()
def test_batches_are_rows(trained: PosteriorFlow) -> None:
    theta, data = linear(6, torch.Generator().manual_seed(5))
    whole = trained.log_prob(theta[:, None], data)
    assert whole.shape == (6, 6)
    for k in range(6):
        assert torch.allclose(trained.log_prob(theta, data[k]), whole[:, k], atol=1e-4)
    drawn = trained.sample(7, data.view(2, 3, 4), torch.Generator().manual_seed(6))
    assert drawn.shape == (7, 2, 3, 2) and drawn.dtype == torch.float64
    with torch.enable_grad():
        theta.requires_grad_()
        slope = torch.autograd.grad(trained.log_prob(theta, data).sum(), theta)[0]
    assert slope.isfinite().all() and bool((slope != 0).all())


def test_a_saved_flow_comes_back_bit_for_bit(trained: PosteriorFlow, tmp_path) -> None:
    trained.save(tmp_path / "model")
    loaded = PosteriorFlow.load(tmp_path / "model")
    assert loaded.config() == trained.config() and repr(loaded) == repr(trained)
    theta, data = linear(50, torch.Generator().manual_seed(7))
    assert torch.equal(loaded.log_prob(theta, data), trained.log_prob(theta, data))
    drawn = [flow.sample(9, data, torch.Generator().manual_seed(8)) for flow in (loaded, trained)]
    assert torch.equal(*drawn)


def test_a_killed_fit_ends_with_the_same_bits(tmp_path) -> None:
    options = OPTIONS.model_copy(
        update={
            "steps": 12,
            "validate_every": 4,
            "checkpoint_every": 5,
            "first_steps": 3,
            "warmup": 2,
            "batch_size": 32,
        }
    )
    calls = []

    def noiseless(n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        calls.append(n)
        theta = TWO.sample(n, rng)
        return theta, (2 * TWO.to_unit(theta) - 1) @ MIX.T

    def fit(path, draw=linear, resume=False, **changes) -> PosteriorFlow:
        flow = PosteriorFlow(TWO, 4, **SMALL)
        given = options.model_copy(update=changes)
        return fit_posterior(flow, draw, first=noiseless, options=given, path=path, resume=resume, **QUIET)

    undisturbed = fit(tmp_path / "whole")
    assert calls.count(32) == 3
    steps = 0

    def dies(n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        nonlocal steps
        steps += n == 32
        if steps > 5:
            raise KeyboardInterrupt
        return linear(n, rng)

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "killed", dies)
    resumed = fit(tmp_path / "killed", resume=True)
    for name, value in undisturbed.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    with pytest.raises(ValueError, match="belongs to another fit"):
        fit(tmp_path / "killed", resume=True, seed=3)
    with pytest.raises(ValueError, match="belongs to another fit"):
        fit(tmp_path / "killed", lambda n, rng: (linear(n, rng)[0], 2 * linear(n, rng)[1]), resume=True)
    log = np.genfromtxt(tmp_path / "whole" / "log.csv", delimiter=",", names=True)
    assert list(log["step"]) == [4, 8, 12]


def test_what_does_not_fit_together_is_refused() -> None:
    flow = PosteriorFlow(TWO, 5, **SMALL)
    with pytest.raises(ValueError, match="2 parameters and data of length 5; the simulations have 2 and 4"):
        fit_posterior(flow, linear, options=OPTIONS, **QUIET)
    with pytest.raises(ValueError, match="needs both"):
        fit_posterior(flow, linear, first=linear, options=OPTIONS, **QUIET)
    with pytest.raises(ValueError, match="parts=3 cannot be divided"):
        fit_posterior(flow, linear, options=OPTIONS.model_copy(update={"parts": 3}), **QUIET)
    with pytest.raises(ValueError, match="leave some of the 300 steps"):
        fit_posterior(flow, linear, first=linear, options=OPTIONS.model_copy(update={"first_steps": 300}), **QUIET)


def test_a_flow_without_zuko_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "zuko.flows", None)
    with pytest.raises(ImportError, match=r"pip install nearsight\[gw\]"):
        PosteriorFlow(TWO, 4)
