"""What can be set, and the presets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nearsight.studies.options import Count, Device, Length, Positive
from nearsight.studies.settings import Section
from nearsight.training import FitOptions, Recipe


class Model(Section):
    """Parameters of :class:`nearsight.hamiltonians.Holstein`; k = 0.67 g and κ = 0.12 g as in the thesis."""

    t: float = 1.0
    g: Positive = 1.5
    k: Positive = 1.005
    kappa: float = 0.18
    spins: Literal[1, 2] = 1


class Network(Section):
    """What learns the electrons."""

    kind: Literal["convolution", "descriptor"] = "convolution"
    """A convolutional network that commutes with D4, or invariants of a neighbourhood and an ordinary network."""
    head: Literal["energy", "force"] = "force"
    """The force itself, three times faster and here more accurate, or a local energy whose gradient is the force
    (always so with a descriptor)."""
    cutoff: Positive = 5.0
    """Radius of the neighbourhood of the descriptor; 5 holds the paper's 89 sites."""
    widths: tuple[Count, ...] = (64, 64)
    """Layers of the network on top of the descriptor."""
    channels: Count = 6
    """Features per operation of D4 in every layer of the convolution."""
    radii: tuple[Positive, ...] = (2.3, 1.5, 1.5)
    """Cutoff of each layer of the convolution; the receptive field is their sum."""
    scales: tuple[Positive, ...] = (1.0, 3.0)
    """The first layer sees Q and tanh(sQ) for each s."""


class Quench(Section):
    """Langevin dynamics from a hot, random field: the scheme teacher and student share."""

    amplitude: Positive = 0.5
    """Standard deviation of the initial Q, a fifth of what it is in the ordered state."""
    dt: Positive = 0.2
    damping: Annotated[float, Field(ge=0)] = 0.3
    mass: Positive = 1.0


class Comparison(Section):
    """The quenches that compare learned with exact dynamics."""

    length: Length = 20
    quenches: Annotated[int, Field(ge=20)] = 32
    duration: Positive = 12.0
    """Until L is a tenth of the lattice, 2πL most of it; later the torus decides, not the force field."""
    records: Annotated[int, Field(ge=2)] = 8
    speed_length: Length = 30
    """Lattice on which one exact and one learned force are timed."""


class Large(Section):
    """The large quench, with the learned force field alone."""

    length: Length = 160
    replicas: Count = 3
    """Independent quenches side by side; an error bar of the exponent needs three."""
    duration: Positive = 100.0
    records: Annotated[int, Field(ge=4)] = 25
    fit_from: Positive = 10.0
    """The growth exponent is fitted from this time on, while L stays below an eighth of the lattice."""
    guard: Annotated[float, Field(ge=1)] = 1.5
    """The run stops if a field leaves the range of the training data widened by this factor."""


class Config(Section):
    """Everything that decides the numbers of a run."""

    length: Length = 16
    model: Model = Model()
    mu: float = 0.0
    """Chemical potential at which electrons are learned, and at which they are quenched if ``filling`` is not set; 0 is
    half filling, by the symmetry of particles and holes. A density at fixed μ is local, so that it can be learned."""
    filling: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Electrons per site and spin, held fixed in the quenches: the ensemble of the papers. The student is the same,
    with :class:`nearsight.forcefields.FixedNumber` around it, which makes its forces about five times slower."""
    kT: Positive = 0.1
    """Temperature of the electrons and of the bath of the field."""
    recipe: Recipe = Recipe()
    network: Network = Network()
    fit: FitOptions = FitOptions()
    quench: Quench = Quench()
    comparison: Comparison = Comparison()
    large: Large = Large()
    device: Device = "cpu"
    """Where the network is trained and the large lattice is quenched. Exact solutions stay on the CPU."""
    seed: Annotated[int, Field(ge=0)] = 1

    @property
    def mean_density(self) -> float:
        """Electrons per site about which charge order is measured."""
        return self.model.spins * (0.5 if self.filling is None else self.filling)
