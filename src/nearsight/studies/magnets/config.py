"""What can be set in every study of a magnet."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from nearsight.studies.options import Count, Device, Positive
from nearsight.studies.settings import Section
from nearsight.training import FitOptions

NotNegative = Annotated[float, Field(ge=0)]
Student = Literal["equivariant", "resnet", "descriptor"]
STUDENTS: tuple[Student, ...] = get_args(Student)

TORQUES = FitOptions(component="tangent", energy_weight=0.0, batch_size=4)
"""Only the part of H normal to the spins moves them; the other is 4 to 50 times larger and need not be learned."""

TAUGHT = FitOptions(
    component="tangent", energy_weight=0.0, batch_size=4, augment=True, optimizer="adamw", learning_rate=1e-3
)
"""The same for a network that has to be taught the symmetry."""


def fitted(steps: int, **options: Any) -> FitOptions:
    return FitOptions(**TORQUES.model_dump() | {"steps": steps, **options})


def taught(steps: int, **options: Any) -> FitOptions:
    return FitOptions(**TAUGHT.model_dump() | {"steps": steps, **options})


class Dynamics(Section):
    """The equation of motion, the same for teacher and student."""

    dt: Positive = 1.0
    damping: NotNegative = 0.1
    kT: NotNegative = 0.0
    """Temperature of the bath of the spins."""


class Equivariant(Section):
    """A convolutional network of spins, exactly equivariant under SO(3) and the point group."""

    head: Literal["energy", "force"] = "force"
    """The field H itself, or a local energy whose gradient it is."""
    channels: Count = 4
    radii: tuple[Positive, ...] = (3.1, 2.1, 1.1)
    """Cutoff of each layer; the receptive field is their sum."""


class ResNet(Section):
    """The residual network of the thesis, whose symmetry is taught by turned snapshots."""

    channels: tuple[Count, ...] = (16, 16)
    """Outputs of every block of two convolutions; two more follow the last. Four blocks in the thesis."""
    kernel: Annotated[int, Field(ge=1)] = 5


class Descriptor(Section):
    """Invariants of bonds and chiralities, and a perceptron for the local energy whose gradient is H."""

    cutoff: Positive = 3.0
    bond_cutoff: NotNegative = 1.0
    widths: tuple[Count, ...] = (64, 32)


class Comparison(Section):
    """Quenches from random spins that compare learned with exact dynamics."""

    length: Count = 12
    quenches: Annotated[int, Field(ge=8)] = 20
    duration: Positive = 600.0
    records: Annotated[int, Field(ge=2)] = 6
    speed_length: Count = 48
    """Lattice on which one exact and one learned field are timed."""
    receptive_fields: Count = 2
    """Fields at which the derivatives of the learned and of the exact field are taken."""


class MagnetConfig(Section):
    """Everything that students of torques need; every study adds its model, its data and its questions."""

    length: Count = 12
    """Lattice of the exact trajectories that are learned."""
    dynamics: Dynamics = Dynamics()
    students: tuple[Student, ...] = ("equivariant", "resnet")
    """The first of them moves spins; all are compared on unseen snapshots."""
    equivariant: Equivariant = Equivariant()
    resnet: ResNet = ResNet()
    descriptor: Descriptor = Descriptor()
    fit: FitOptions = TORQUES
    """Of the equivariant and the descriptor student."""
    resnet_fit: FitOptions = TAUGHT
    comparison: Comparison = Comparison()
    device: Device = "cpu"
    """Where the network is trained and large lattices are moved. Exact solutions stay on the CPU."""
    seed: Annotated[int, Field(ge=0)] = 1

    @model_validator(mode="after")
    def _different_students(self) -> MagnetConfig:
        if not self.students or len(set(self.students)) < len(self.students):
            raise ValueError(f"students must be one or more different kinds, got {self.students}")
        return self
