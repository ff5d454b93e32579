"""Random numbers of one replica, whatever its companions."""

from __future__ import annotations

import numpy as np
import torch

from nearsight.dynamics.scheme import _required


def replica_streams(rng: torch.Generator | None, replicas: int) -> list[np.random.Generator]:
    """One generator for every replica, for one step.

    A step draws two 64-bit words from ``rng``, the key of a Philox cipher, and replica r starts at the counter
    r 2¹²⁸. What replica r sees depends on the state of ``rng`` and on r: not on the number of replicas, and not on how
    many numbers any of them uses up.

    References
    ----------
    J. K. Salmon et al., SC '11: Proc. Int. Conf. High Perf. Comp., 16 (2011).
    """
    rng = _required(rng)
    lowest, highest = torch.iinfo(torch.int64).min, torch.iinfo(torch.int64).max
    words = torch.randint(lowest, highest, (2,), generator=rng, dtype=torch.int64, device=rng.device)
    key = words.cpu().numpy().view(np.uint64)
    counters = np.zeros((replicas, 4), dtype=np.uint64)
    counters[:, 2] = np.arange(replicas)
    return [np.random.Generator(np.random.Philox(counter=counter, key=key)) for counter in counters]
