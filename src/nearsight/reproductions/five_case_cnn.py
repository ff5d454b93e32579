"""The convolutional network of the published Falicov-Kimball dynamics."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nearsight._description import Described
from nearsight._validation import generator, integer

CASES = 5
"""Patterns of occupied neighbours on the square lattice: none, one, two adjacent, two opposite, three."""


class FiveCaseCNN(Described, nn.Module):
    """Five copies of one architecture, each for a pattern of occupied neighbours: ``(hop, feature)`` to ``(hop,)``.

    Features are read as a sequence: convolution of 5 to 16 channels, maxima of 3, convolution of 5 (padded by 1) to 32
    channels, maxima of 3, then layers of 256, 128, 64, 32 and 1, with ReLU between them. With the 316 features of a
    neighbourhood of radius 10 the flattened length is 1088, as published. Features that stand side by side in the
    sequence have no relation that a convolution could exploit; the network is kept to compare with.
    """

    def __init__(self, features: int = 316, *, rng: torch.Generator | None = None) -> None:
        super().__init__()
        features = integer(features, "features", least=1)
        pooled = ((features - 4) // 3 - 2) // 3
        if pooled < 1:
            raise ValueError(f"{features} features are too few for two convolutions and poolings; give 19 or more.")
        self.features = features
        rng = generator(rng, optional=True) or torch.Generator().manual_seed(0)
        self.cases = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(1, 16, 5), nn.MaxPool1d(3), nn.ReLU(),
                nn.Conv1d(16, 32, 5, padding=1), nn.MaxPool1d(3), nn.ReLU(), nn.Flatten(),
                nn.Linear(32 * pooled, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(),
                nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1),
            )
            for _ in range(CASES)
        )  # fmt: skip
        with torch.no_grad():
            for p in self.parameters():
                if p.ndim > 1:
                    p.normal_(std=(2.0 / p[0].numel()) ** 0.5, generator=rng)
                else:
                    p.zero_()

    def forward(self, features: Tensor, case: Tensor) -> Tensor:
        result = features.new_zeros(len(features))
        for number, network in enumerate(self.cases):
            here = torch.nonzero(case == number)[:, 0]
            if len(here):
                result = result.index_add(0, here, network(features[here][:, None])[:, 0])
        return result
