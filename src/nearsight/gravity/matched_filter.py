"""What a search would say of the data, told to a network: the best template and a step from it to the signal."""

from __future__ import annotations

import torch
from torch import Tensor

from nearsight._validation import generator, instance, integer
from nearsight.gravity.simulator import Simulator
from nearsight.gravity.strain import Strain
from nearsight.gravity.waveforms import Source

STEP = 1e-3
"""Of the derivatives, in the normal coordinates of the prior."""
LARGEST = 4.0
"""Of the normal coordinates of templates and estimates."""
TEMPERS = (1.0, 0.25)
"""Powers of the likelihood under which means over the bank are taken."""


class MatchedFilter:
    r"""Data of a simulator with a first guess: a bank of templates, the loudest of them, and one step of Newton.

    Templates h_k are signals of ``count`` draws θ_k from the prior, in the coefficients of the simulator. The data c
    have the signal-to-noise ratio

    .. math:: \rho_k = |\langle \hat h_k, c \rangle|, \qquad \hat h_k = h_k / |h_k|

    with each, maximised over amplitude and phase. At the largest, in coordinates z in which the prior is normal and
    with the tangents :math:`t_j = \partial \hat h_k / \partial z_j` orthogonal to the template, the likelihood has a
    gradient and a curvature, and its maximum, with the prior as a brake, lies near

    .. math:: z_k + \left(\rho^2\, \mathrm{Re} \langle t_i, t_j \rangle + 1\right)^{-1} \rho\,
              \mathrm{Re} \langle t_j, c' \rangle , \qquad
              c' = c\, e^{-i \operatorname{arg} \langle \hat h_k, c \rangle} .

    Besides, the bank is a crude sample of the posterior: means and widths of z under the weights
    :math:`e^{\beta \rho_k^2 / 2}` for β = 1 and 1/4 tell where else a signal may be.

    Nothing is lost: the network gets c' (the posterior does not depend on a common phase, if the prior of the phase is
    uniform), what the simulator tells of noise curves and masks, and then these guesses, with the widths from the
    curvature, and ρ as the last number. It has to learn what the guesses leave.

    Parameters
    ----------
    simulator: whose data are to be prepared; its prior must integrate out the phase. What else it integrates out is
        drawn for every template, too.
    count: number of templates; as many as the prior is wider than posteriors, some thousand, find the right maximum.
    rng: of the templates.

    Examples
    --------
    >>> import torch
    >>> from nearsight.gravity import DETECTORS, MatchedFilter, Prior, Simulator, TaylorF2, Uniform, frequency_grid
    >>> known = dict(mass_ratio=0.8, chi_1=0.0, chi_2=0.0, inclination=0.4, ra=1.0, dec=-0.5, psi=0.2, time=3.5)
    >>> free = dict(chirp_mass=Uniform(20.0, 21.0), distance=Uniform(400, 900))
    >>> prior = Prior(free | known, marginal=dict(phase=Uniform(0.0, 6.2832)))
    >>> f, rng = frequency_grid(20.0, 256.0, duration=4.0), torch.Generator().manual_seed(1)
    >>> simulator = Simulator(TaylorF2(), [DETECTORS["H1"]], prior, f, size=8, summary=4)
    >>> theta, data = MatchedFilter(simulator, 64, rng=rng).draw(100, rng)
    >>> nearer = theta[:, 1] < 500.0
    >>> bool(data[nearer, -1].mean() > data[~nearer, -1].mean())  # the last number is the signal-to-noise ratio
    True
    """

    def __init__(self, simulator: Simulator, count: int = 1024, *, rng: torch.Generator) -> None:
        self.simulator = instance(simulator, Simulator, "simulator")
        self.count = integer(count, "count", least=1)
        if "phase" not in simulator.prior.marginal:
            raise ValueError(
                "Data are turned by a common phase, so it must be integrated out: put phase into the prior's marginal."
            )
        prior = simulator.prior
        unit = torch.rand(self.count, len(prior.names), generator=generator(rng), dtype=torch.float64)
        z = torch.special.ndtri(unit).clamp(-LARGEST, LARGEST)
        moved = [z] + [z + s * STEP * e for e in torch.eye(z.shape[1], dtype=z.dtype) for s in (1, -1)]
        others = {name: value for name, value in prior.nuisances(self.count, rng).items() if name != "phase"}
        signals = torch.stack([self._of(x, others) for x in moved])
        self.z = z.float()
        self.templates = signals[0].to(torch.complex64)
        tangents = (signals[1::2] - signals[2::2]) / (2 * STEP)
        self.tangents = tangents.transpose(0, 1).to(torch.complex64)
        self.norms = self.templates.abs().square().sum(-1)

    def _of(self, z: Tensor, others: Source) -> Tensor:
        """Signals ``(n, detector, size)`` at normal coordinates ``(n, d)``."""
        theta, found = self.simulator.prior.from_normal(z), []
        for k in range(0, len(z), 512):
            some = {name: value[k : k + 512] for name, value in others.items()}
            found.append(self.simulator.signals(theta[k : k + 512], some))
        return torch.cat(found)

    @property
    def width(self) -> int:
        """How many numbers the data are."""
        return self.simulator.width + (3 + 2 * len(TEMPERS)) * self.z.shape[1] + 1

    def draw(self, n: int, rng: torch.Generator, *, fiducial: bool = False) -> tuple[Tensor, Tensor]:
        """θ ``(n, d)`` and data ``(n, width)``, see :meth:`Simulator.draw`."""
        theta, data = self.simulator.draw(n, rng, fiducial=fiducial)
        return theta, self.prepared(data)

    def embed(self, strain: Strain) -> Tensor:
        """The data ``(width,)`` of a measured strain, see :meth:`Simulator.embed`."""
        return self.prepared(self.simulator.embed(strain)[None])[0]

    def prepared(self, data: Tensor) -> Tensor:
        """Data ``(n, width)`` of data of the simulator ``(n, simulator.width)``."""
        layout, detectors = self.simulator.layout, len(self.simulator.detectors)
        c = torch.view_as_complex(data[:, layout["signal"]].reshape(len(data), detectors, -1, 2).contiguous())
        # What is masked has no signal: a detector counts by the part of it that is there.
        there = data[:, layout["kept"]].reshape(len(data), detectors, -1).mean(-1)
        power = (there @ self.norms.mT).clamp(min=1e-6)
        overlap = c.flatten(1) @ self.templates.flatten(1).conj().mT
        ratios = overlap.abs() / power.sqrt()
        rho, best = ratios.max(-1)
        chosen = overlap.gather(1, best[:, None])
        turned = c * torch.sgn(chosen.conj())[..., None]

        h, t = self.templates[best] * there.sqrt()[..., None], self.tangents[best] * there.sqrt()[:, None, :, None]
        scale = power.gather(1, best[:, None]).sqrt()
        h, t = h.flatten(1) / scale, t.flatten(2) / scale[..., None]
        t = t - (t @ h.conj()[..., None]) * h[:, None]
        gradient = rho[:, None] * (t.conj() @ turned.flatten(1)[..., None])[..., 0].real
        curvature = rho[:, None, None] ** 2 * (t.conj() @ t.mT).real + torch.eye(t.shape[1])
        inverse = torch.linalg.inv(curvature)
        step = (inverse @ gradient[..., None])[..., 0].clamp(-LARGEST, LARGEST)
        widths = 0.5 * torch.log(torch.diagonal(inverse, dim1=-2, dim2=-1))
        found = [torch.view_as_real(turned).flatten(1), data[:, layout["signal"].stop :]]
        found += [self.z[best], self.z[best] + step, widths]
        for beta in TEMPERS:
            weight = torch.softmax(beta / 2 * ratios.square(), -1)
            mean = weight @ self.z
            spread = (weight @ self.z.square() - mean.square()).clamp(min=1e-4)
            found += [mean, 0.5 * torch.log(spread)]
        return torch.cat([*found, rho[:, None]], -1)
