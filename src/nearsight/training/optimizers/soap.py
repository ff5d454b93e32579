"""Adam in the eigenbasis of Shampoo's preconditioner."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

from nearsight._validation import integer, number, numbers

RIDGE = 1e-5
"""Weight of the identity in the preconditioner, relative to its mean eigenvalue."""


class SOAP(Optimizer):
    r"""Adam run in a slowly turning basis, in which the curvature of a layer is nearly diagonal.

    A weight with n outputs is a matrix of n rows with gradient G. With moving averages L of GGᵀ and R of GᵀG and their
    eigenvectors U and V, the step is that of Adam for UᵀGV, turned back:

    .. math:: W \leftarrow W - \eta\, U\, \frac{\hat m}{\sqrt{\hat v} + \epsilon \max \sqrt{\hat v}}\, V^T,
              \quad m = U^T M V, \quad v \leftarrow \beta_2 v + (1-\beta_2)\,(U^T G V)^2 .

    The eigenvectors are refreshed every ``every`` steps by one step of orthogonal iteration. Worth its price where
    layers are small and every gradient is costly: a step takes a quarter longer than Adam's and most are saved. ``eps``
    is relative to the largest entry of the root.

    All state is contiguous tensors: a checkpoint needs no pickle and goes on with the same bits.

    Examples
    --------
    >>> import torch
    >>> from nearsight.training import SOAP
    >>> rng = torch.Generator().manual_seed(1)
    >>> A, B = torch.randn(4, 4, generator=rng), torch.randn(4, 4, generator=rng)
    >>> W = torch.nn.Parameter(torch.zeros(4, 4))
    >>> optimizer = SOAP([W], lr=0.1)
    >>> for _ in range(60):
    ...     loss = (A @ (W - B)).square().mean()
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     optimizer.step()
    >>> bool(loss < 0.05 * (A @ B).square().mean())
    True

    References
    ----------
    N. Vyas et al., SOAP: Improving and stabilizing Shampoo using Adam, arXiv:2409.11321.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 3e-3,
        *,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        every: int = 10,
    ) -> None:
        lr, weight_decay = number(lr, "lr", least=0), number(weight_decay, "weight_decay", least=0)
        betas = numbers(betas, "betas", length=2, least=0, below=1)  # type: ignore[assignment]
        eps, every = number(eps, "eps", above=0), integer(every, "every", least=1)
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, every=every))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step from the gradients as they are; a closure is not used."""
        if closure is not None:
            raise ValueError("SOAP takes one gradient a step: call backward() first and pass no closure.")
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, self.state[p], group)

    def _update(self, p: Tensor, state: dict[str, Tensor], group: dict) -> None:
        beta1, beta2 = group["betas"]
        gradient = p.grad.reshape(p.shape[0] if p.ndim > 1 else 1, -1)  # type: ignore[union-attr]
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = gradient.new_zeros(gradient.shape), gradient.new_zeros(gradient.shape)
            for average, basis, size in (("left", "U", gradient.shape[0]), ("right", "V", gradient.shape[1])):
                state[average], state[basis] = gradient.new_zeros(size, size), torch.eye(size).to(gradient)
        state["step"] += 1
        U, V, t = state["U"], state["V"], int(state["step"])
        state["mean"].lerp_(gradient, 1 - beta1)
        state["square"].lerp_((U.T @ gradient @ V).square_(), 1 - beta2)
        root = (state["square"] / (1 - beta2**t)).sqrt_()
        # Relative: directions that no gradient has yet shown hold rounding errors, which must not become full steps.
        root += group["eps"] * root.amax() + torch.finfo(root.dtype).tiny
        direction = U @ ((U.T @ state["mean"] @ V) / ((1 - beta1**t) * root)) @ V.T
        p.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction.reshape(p.shape), alpha=-group["lr"])
        state["left"].lerp_(gradient @ gradient.T, 1 - beta2)
        state["right"].lerp_(gradient.T @ gradient, 1 - beta2)
        if t % group["every"] == 0 or t < group["every"]:
            state["U"], state["V"] = _turned(U, state["left"]), _turned(V, state["right"])


def _turned(basis: Tensor, average: Tensor) -> Tensor:
    """One orthogonal iteration. A little of the identity keeps directions without a gradient where they are, which
    rounding errors would turn at random."""
    ridge = RIDGE * average.diagonal().mean()
    return torch.linalg.qr(average @ basis + ridge * basis)[0].contiguous()
