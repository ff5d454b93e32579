"""The optimiser against problems whose answer is known."""

from __future__ import annotations

import pytest
import torch

from nearsight.training import SOAP


def regression(rng: torch.Generator):
    """Y = X W with W planted and strongly correlated, badly scaled inputs (condition number 10⁴ of XᵀX)."""
    rotation = torch.linalg.qr(torch.randn(12, 12, generator=rng, dtype=torch.float64))[0]
    X = torch.randn(400, 12, generator=rng, dtype=torch.float64) * torch.logspace(0, -2, 12, dtype=torch.float64)
    return X @ rotation, torch.randn(7, 12, generator=rng, dtype=torch.float64)


def error(make, steps: int, rng: torch.Generator) -> float:
    X, planted = regression(rng)
    weight = torch.nn.Parameter(torch.zeros_like(planted))
    optimizer = make([weight])
    for k in range(steps):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - k / steps)
        optimizer.zero_grad()
        (X @ (weight - planted).T).square().mean().backward()
        optimizer.step()
    return float((weight - planted).detach().norm() / planted.norm())


def test_badly_scaled_and_correlated_inputs_are_undone():
    soap = error(lambda p: SOAP(p), 400, torch.Generator().manual_seed(1))
    adam = error(lambda p: torch.optim.Adam(p), 400, torch.Generator().manual_seed(1))
    assert soap < 0.05
    assert soap < 0.1 * adam


def test_state_is_tensors_only(rng):
    weight = torch.nn.Parameter(torch.randn(3, 2, 2, generator=rng))
    scalar = torch.nn.Parameter(torch.zeros(()))
    optimizer = SOAP([weight, scalar])
    weight.grad, scalar.grad = torch.ones_like(weight), torch.ones(())
    optimizer.step()
    assert all(isinstance(v, torch.Tensor) for p in (weight, scalar) for v in optimizer.state[p].values())
    assert scalar.item() == pytest.approx(-3e-3, rel=1e-6)


def test_a_closure_is_refused(rng):
    with pytest.raises(ValueError, match="backward"):
        SOAP([torch.nn.Parameter(torch.zeros(2))]).step(lambda: 0.0)
