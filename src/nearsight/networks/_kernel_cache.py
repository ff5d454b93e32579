"""Constants made from parameters, kept until the parameters change."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class KernelCache:
    """A tensor made from a parameter, remade when an optimiser step, a load or a change of precision touches it.

    Networks expand their free numbers into the kernels of ordinary convolutions. While the weights are constant, as in
    dynamics, that is done once; while they are trained, at every step, as a differentiable function of them. Changes
    through ``parameter.data`` leave no trace in torch: change weights under ``torch.no_grad()`` instead.
    """

    def __init__(self) -> None:
        self._state: tuple[object, ...] | None = None
        self._value: Tensor | None = None

    def __call__(self, make: Callable[[], Tensor], parameter: Tensor, *, fresh: bool) -> Tensor:
        if fresh:
            return make()
        state = (parameter._version, parameter.data_ptr(), parameter.dtype, parameter.device)
        if self._value is None or self._state != state:
            with torch.inference_mode(False), torch.no_grad():  # what is made here serves training, too
                self._state, self._value = state, make()
        return self._value
