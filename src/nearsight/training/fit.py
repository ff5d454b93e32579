"""Fitting a force field to exact forces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from nearsight._validation import instance
from nearsight.fields import tangent
from nearsight.forcefields import ForceField, LearnedFamily, LearnedForceField
from nearsight.lattices import Lattice
from nearsight.training import _distributed
from nearsight.training._augmentation import Augmentation
from nearsight.training._loss import Labels, Loss, labels, learned_part, mean_longitudinal
from nearsight.training._snapshots import generator
from nearsight.training.dataset import DataSet
from nearsight.training.labelled import Split
from nearsight.training.metrics import Component, _natural_component, _predict
from nearsight.training.options import Fraction, NonNegative, TrainerOptions
from nearsight.training.trainer import Trainer, _workspace, minibatch

Model = TypeVar("Model", bound=ForceField)

CHUNK = 64
"""Snapshots evaluated at once where no gradient is needed."""
CALIBRATION = 64
"""Snapshots that set the scale of the features."""


class FitOptions(TrainerOptions):
    """How to fit a force field. The defaults suit small networks on one or two cores.

    A batch may be small: one snapshot holds the forces of all sites. ``validation`` is a fraction of the trajectories.

    Examples
    --------
    >>> from nearsight.training import FitOptions
    >>> options = FitOptions(steps=1000, warmup=100, learning_rate=0.01)
    >>> [round(options.rate(step), 4) for step in (49, 99, 550, 999)]  # a rise, and half a cosine down to zero
    [0.005, 0.01, 0.005, 0.0]
    """

    test: Fraction = 0.15
    """Fraction of the trajectories that a fit to a whole data set leaves aside and never looks at."""
    force_weight: NonNegative = 1.0
    """Weight of the loss of forces, in units of the variance of its labels."""
    energy_weight: NonNegative = 0.1
    """That of the loss of energies, which drops out by itself where either side has no energy."""
    component: Component | None = None
    """What to learn of the forces; "tangent", for unit spins: :func:`nearsight.fields.tangent`, H⊥ = H - (H·S) S. The
    rest of H does nothing to a spin, and electrons make it 2 to 250 times larger: a fit of all of H spends itself on
    it. None: "tangent" if the field type of the force field has unit vectors, else "all"."""
    force_loss: Literal["squared", "relative"] = "squared"
    """The error of the forces: its mean square, or the mean of |F - F̂|₁ / |F̂| over the sites, which weighs small forces
    like large ones. For tangents it is the error of the torque S × H."""
    relative_floor: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Forces shorter than this fraction of their rms length count as of this length in the relative loss."""
    augment: bool = False
    """Turn every snapshot of a step by a random operation of the field's own symmetry (rotations of all spins, their
    reversal) and of the point group, for models that do not have them built in. The labels must have both."""

    @model_validator(mode="after")
    def _consistent(self) -> FitOptions:
        if self.force_weight == 0 and self.energy_weight == 0:
            raise ValueError("force_weight and energy_weight are both 0: there is nothing to learn")
        if self.validation + self.test >= 1:
            raise ValueError(f"validation={self.validation:g} and test={self.test:g} leave nothing to train on")
        return self


def fit(
    model: Model,
    data: DataSet | Split | Sequence[Split],
    *,
    options: FitOptions | None = None,
    path: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    tensorboard: bool = False,
) -> Model:
    """Fit the parameters of a force field; the same object comes back, with the best weights, in eval mode.

    Of a sum only the parts with parameters are trained: the others (exact springs) are evaluated once and their forces
    subtracted from the labels. The best weights have the smallest force error on validation trajectories, see
    :class:`Trainer`. Data are augmented by symmetry operations only if asked (``FitOptions.augment``): most force
    fields have their symmetry built in. Of unit spins one learns the torques (``FitOptions.component``). Sites of
    weight 0 (:attr:`DataSet.weight`) have no force to learn, and what stands there is not read. If the learned part has
    a buffer ``energy_offset`` (energy per site added to its energies), the constant of the energy is stored
    there.

    Parameters
    ----------
    data: a data set, split here by trajectory, or a split of your own, whose test part is not looked at; or several
        splits, each with lattices of its own (structures of different size, held by ``lattices.Structures`` where one
        step is to see more than one). A step takes its batch from one of them, and validation goes over all; the parts
        of a split may lie on different lattices, so that a model is validated on structures it was not trained on.
    path, resume, progress, tensorboard: as in :meth:`Trainer.run`.
    """
    instance(model, ForceField, "model", "Give a learned force field, or a sum with one.")
    several = list(data) if isinstance(data, list | tuple) and not isinstance(data, Split) else None
    for k, part in enumerate(several or ()):
        instance(part, Split, f"data[{k}]", "Several structures are several splits: DataSet.split, or Split(...).")
    if several is None:
        instance(data, (DataSet, Split), "data", "Make one with training.generate, or DataSet.from_arrays.")
    options = FitOptions() if options is None else instance(options, FitOptions, "options")
    if isinstance(data, DataSet):
        data = data.split(validation=options.validation, test=options.test, seed=options.seed)
    model.to(getattr(torch, options.dtype))
    with _workspace(path, options, resume=resume):
        task = _Forces(model, data, options) if several is None else _Several(model, several, options)  # type: ignore[arg-type]
        Trainer(task.model, task, options).run(path, resume=resume, progress=progress, tensorboard=tensorboard)
        task.set_constants()
    return model.eval()


class _Forces:
    """Forces, and energies up to a constant, of the snapshots of a split."""

    quantity = "rmse"

    def __init__(
        self, forcefield: ForceField, split: Split, options: FitOptions, *, fresh: bool = True, calibrate: bool = True
    ) -> None:
        for name, part in (("training", split.train), ("validation", split.validation)):
            if len(part) == 0:
                raise ValueError(f"The {name} part of the split is empty; give it a share of the trajectories.")
        self.options = options
        self.identity = {"train": split.train.hash, "validation": split.validation.hash}
        learned, fixed = learned_part(forcefield)
        self.family = _family(learned, split)
        lattice = split.train.lattice
        self.model = learned if lattice.coincides(learned.lattice) else learned.on(lattice)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        if {id(p) for p in parameters} != {id(p) for p in learned.parameters() if p.requires_grad}:
            raise TypeError(f"{type(learned).__name__}.on(lattice) copies its parameters; it must share them.")
        self.offsets = [b for name, b in learned.named_buffers() if name.rpartition(".")[2] == "energy_offset"]
        self.references = [m.reference for m in learned.modules() if isinstance(m, LearnedForceField)]
        for constant in (*self.offsets, *(r.longitudinal for r in self.references)) if fresh else ():
            constant.zero_()
        # Features are scaled by the training data once, before the first step; a resumed fit finds the same scales.
        # Weights that were found with other scales keep those.
        for module in self.model.modules() if fresh and calibrate else ():
            if isinstance(module, LearnedForceField):
                module.calibrate(split.train.field[:CALIBRATION])
        self.component = options.component or _natural_component(self.model)
        self._validation_lattice = split.validation.lattice
        self._set_labels(split, fixed, parameters[0])
        self.terms = Loss.of(
            self.train,
            options.force_weight,
            options.energy_weight,
            component=self.component,
            relative_floor=options.relative_floor if options.force_loss == "relative" else None,
        )
        if self.component == "tangent" and fresh:
            self._set_scale()
        self.augmentation = Augmentation.of(self.model) if options.augment else None

    def _set_labels(self, split: Split, fixed: ForceField | None, like: Tensor) -> None:
        """Labels without what is fixed, in the precision and on the device of a parameter."""
        energy = self.options.energy_weight > 0 and _has_energy(self.model, split.train.field[:1])
        settings: dict[str, Any] = dict(energy=energy, dtype=like.dtype, device=like.device, batch=CHUNK)
        settings["family"] = self.family
        train, validation = (
            labels(part, None if fixed is None else fixed.on(part.lattice), component=self.component, **settings)
            for part in (split.train, split.validation)
        )
        # Taken from the labels, so that errors are weighed by what is left to learn, and given to the model at the end.
        unit = all(m.field_type.values == "unit" for m in self.model.modules() if isinstance(m, LearnedForceField))
        whole_spins = self.component == "all" and bool(self.references) and unit
        self.longitudinal = mean_longitudinal(train) if whole_spins else 0.0
        self.train, self.validation = (part.without(self.longitudinal) for part in (train, validation))
        if self.train.energy is not None and min(self.options.batch_size, len(self.train)) < 2:
            raise ValueError(
                "The energy loss compares snapshots of a batch and needs two: raise batch_size, or set energy_weight=0 "
                "to fit forces alone."
            )

    def _set_scale(self) -> None:
        """Torques are small beside what a fresh network puts out: let it learn them in units of their rms.

        A force field from an earlier fit keeps the unit its weights were found in.
        """
        for module in self.model.modules():
            if isinstance(module, LearnedForceField) and float(module.reference.scale) == 1.0:
                module.reference.scale.fill_(self.terms.force_scale)

    def batch(self, step: int) -> Labels:
        index = minibatch(step, len(self.train), self.options.batch_size, [self.options.seed])
        keep = torch.from_numpy(index).to(self.train.field.device)
        field, force = self.train.field[keep], self.train.force[keep]
        weight = None if self.train.weight is None else self.train.weight[keep]
        if self.augmentation is not None:
            field, force, weight = self.augmentation.weighted(field, force, weight, generator(self.options.seed, step))
        energy = None if self.train.energy is None else _distributed.share(self.train.energy[keep])
        weight = None if weight is None else _distributed.share(weight)
        family = {name: _distributed.share(x[keep]) for name, x in self.train.family.items()}
        return Labels(_distributed.share(field), _distributed.share(force), energy, weight=weight, **family)

    def loss(self, model: ForceField, batch: Labels) -> dict[str, Tensor]:
        return dict(zip(("loss", "force_loss", "energy_loss"), self.terms(model, batch), strict=True))

    def validate(self, model: ForceField) -> float:
        there = self._validation_lattice
        model = model if model.lattice.coincides(there) else _moved(model, there)
        force = _predict(model, self.validation.field, CHUNK, self.validation.u).force
        if self.component == "tangent":
            force = tangent(force, self.validation.field.cpu().double())
        return math.sqrt(self.validation.mean_square(force - self.validation.force.cpu().double()))

    def set_constants(self) -> None:
        """Put in what no gradient sees: the mean field along spins, and the constant of the energy."""
        if self.references:  # one part of a sum carries the constants for all
            self.references[0].longitudinal.fill_(self.longitudinal)
        if self.offsets and self.train.energy is not None:
            # The mean residual is the constant with the smallest squared error; one part of a sum carries it for all.
            known = self.train.energy.cpu().double() + self.train.mean_energy
            energy = _predict(self.model, self.train.field, CHUNK, self.train.u).energy
            assert energy is not None
            self.offsets[0].fill_(float((known - energy).mean()) / self.terms.sites)


class _Several:
    """The same for several splits, each on lattices of its own: a step takes its batch from one of them."""

    quantity = "rmse"

    def __init__(
        self, forcefield: ForceField, splits: Sequence[Split], options: FitOptions, *, calibrate: bool = True
    ) -> None:
        if not splits:
            raise ValueError("There is nothing to fit: data holds no split.")
        self.parts = [
            _Forces(forcefield, split, options, fresh=k == 0, calibrate=calibrate) for k, split in enumerate(splits)
        ]
        self.model, self.seed = self.parts[0].model, options.seed
        self.identity = {f"{name} {k}": h for k, part in enumerate(self.parts) for name, h in part.identity.items()}
        # One unit for all errors, so that no structure weighs more than another. Those without energies have none.
        with_energy = [part for part in self.parts if part.train.energy is not None] or self.parts
        forces = float(np.sqrt(np.mean([part.terms.force_scale**2 for part in self.parts])))
        energies = float(np.sqrt(np.mean([part.terms.energy_scale**2 for part in with_energy])))
        for part in self.parts:
            part.terms = replace(part.terms, force_scale=forces, energy_scale=energies)
        if any(part.longitudinal for part in self.parts):
            raise ValueError(
                "Fields along unit spins differ from structure to structure: fit several with component='tangent'."
            )

    def batch(self, step: int) -> tuple[int, Labels]:
        epoch, place = divmod(step, len(self.parts))
        k = int(np.random.default_rng([self.seed, 1, epoch]).permutation(len(self.parts))[place])
        return k, self.parts[k].batch(epoch)

    def loss(self, model: ForceField, batch: tuple[int, Labels]) -> dict[str, Tensor]:
        k, labels = batch
        part = self.parts[k]
        if part.model is not self.model:
            part.model.train(model.training)  # of the same parameters, on another lattice
        return part.loss(part.model, labels)

    def validate(self, model: ForceField) -> float:
        found = [part.validate(model) for part in self.parts]
        weights = [part.validation.field.numel() for part in self.parts]
        if any(part.validation.weight is not None for part in self.parts):
            weights = [1 for _ in self.parts]  # as in the steps: a few known forces would not count among whole fields
        return float(np.sqrt(np.average(np.square(found), weights=weights)))

    def set_constants(self) -> None:
        """The constant of the energy, the mean over the splits."""
        offsets = []
        for part in self.parts:
            part.set_constants()
            offsets += [float(offset) for offset in part.offsets[:1]]
            for offset in part.offsets[:1]:
                offset.zero_()
        if offsets:
            self.parts[0].offsets[0].fill_(float(np.mean(offsets)))


def _family(learned: ForceField, split: Split) -> LearnedFamily | None:
    """What is learned, if it is a family of Hamiltonians whose parameters the data have."""
    several = [part for part in learned.modules() if isinstance(part, LearnedFamily)]
    if not several:
        return None
    if not isinstance(learned, LearnedFamily):
        raise ValueError("A family is fitted alone, or in a sum with what needs no fitting: take its parts one by one.")
    for part in (split.train, split.validation):
        learned._check_names(part.parameters)
    return learned


def _has_energy(model: ForceField, field: Tensor) -> bool:
    if isinstance(model, LearnedFamily):
        return model.learned.conservative
    return _predict(model, field, 1).energy is not None


def _moved(model: ForceField, lattice: Lattice) -> ForceField:
    """The same parameters on another lattice."""
    there = model.on(lattice)
    return there.train(model.training)
