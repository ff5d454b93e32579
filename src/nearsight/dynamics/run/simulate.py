"""A run: a field moved by a scheme in a force field, recorded, watched over, and restartable."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import nearsight
from nearsight._description import fingerprint
from nearsight._validation import boolean, generator, instance, integer
from nearsight.dynamics._stability import warn_if_unstable
from nearsight.dynamics.run._record_store import Records
from nearsight.dynamics.run._run_folder import RunFolder
from nearsight.dynamics.run.audit import FOLDER, Audit, Auditor, UntrustedError
from nearsight.dynamics.run.guard import Guard, OutOfRangeError, _check_finite, _Watch
from nearsight.dynamics.run.record import At, Every, _columns, _measure
from nearsight.dynamics.run.trajectory import Trajectory
from nearsight.dynamics.scheme import Scheme, State, _forces
from nearsight.fields import check_field
from nearsight.forcefields import ForceField
from nearsight.forcefields.gradients import wanted
from nearsight.lattices import Lattice
from nearsight.parallel import progress_bar
from nearsight.storage import lock, tensor_hash

SECONDS_BETWEEN_CHECKPOINTS = 30.0
WATCHED = 16
"""Steps between looks at the size of a field that no guard bounds."""


def simulate(
    forcefield: ForceField | None,
    scheme: Scheme,
    field: Tensor | State,
    *,
    steps: int,
    record: Every | At | None,
    rng: torch.Generator | None,
    velocity: Tensor | None = None,
    path: str | Path | None = None,
    resume: bool = False,
    guard: Guard | None = None,
    audit: Audit | None = None,
    checkpoint_every: int | None = None,
    progress: bool = False,
) -> Trajectory:
    """Move a field by ``steps`` steps of a scheme and keep what ``record`` asks for.

    All replicas of a batch move together, with independent noise. Without a ``path`` the records stay in memory. With
    one, they go to ``path/trajectory.zarr``, laid out in full at the start (what is not yet computed reads as NaN) and
    readable by ``xarray.open_zarr``, and the state goes to ``path/checkpoint.safetensors``. Killed at any moment, the
    same call with ``resume=True`` ends with the same bits as a run that was never killed, in the fields, in the
    generators (those of solvers with random vectors too), and in the files. On another machine, or with another number
    of threads, linear algebra may round differently.

    A run on disk can be extended: the same call with more ``steps`` and ``resume=True`` goes on from its last state,
    with its noise and its clock, and ends with the same bits as one run of that length.

    Parameters
    ----------
    forcefield: exact or learned, on the lattice of the field. Where it depends on time (reservoirs with a
        :class:`~nearsight.solvers.Protocol`), forces are those at the time of the state. A scheme of discrete moves
        brings its own physics; there the force field only reports force and energy at every step, and None leaves that
        out.
    scheme: the equation of motion.
    field: start, ``(*batch, site, component)``. Its precision and device are those of the run. Or a :class:`State`,
        such as ``Trajectory.final``, with its velocity, noise, clock and number of steps: with the same ``rng`` the
        run goes on to ``steps`` as if it had never ended, and records what comes from there on.
    steps: length of the run from its start; one event per replica for :class:`KineticMonteCarlo`.
    record: :class:`Every` n steps, :class:`At` given steps, or None to keep only the final state. Where a run is
        extended, it may name steps to come that it did not name before.
    rng: source of all random numbers, left in the state it has after the run. None for a scheme that needs none.
    velocity: start of the velocity; by default the scheme draws it.
    path: folder of the run, created if needed.
    resume: go on with what is there up to ``steps``, or start if there is nothing; False refuses to touch an existing
        run.
    guard: the range in which the force field may be trusted, checked at every step. Without a guard a run still stops
        within some steps of an instability, where its field is not finite or a million times beyond its start.
    audit: measures the error of the forces on the way, against exact electrons on random sites; what it finds is
        ``trajectory.audit``, and the run itself is the same as without.
    checkpoint_every: steps between checkpoints; by default one every 30 seconds. Each writes the state once.
    progress: show steps per second and the time left.

    A first step that is too long for the forces at the start is warned about, with the largest stable one, from a few
    more force calls on one replica (10, or a tenth of ``steps``).

    Raises ``OutOfRangeError`` if the field leaves the allowed range, ``FileExistsError`` if there is a run and
    ``resume`` is False, ``ValueError`` if the run there was started with something else (it says what),
    ``CorruptFileError`` if its files are damaged (it says which), ``LockedError`` if another process works in it.
    """
    steps = integer(steps, "steps", least=0)
    if checkpoint_every is not None:
        checkpoint_every = integer(checkpoint_every, "checkpoint_every", least=1)
    instance(scheme, Scheme, "scheme")
    kinds: dict[str, Any] = {"forcefield": ForceField, "record": (Every, At), "guard": Guard, "audit": Audit}
    for (name, kind), value in zip(kinds.items(), (forcefield, record, guard, audit), strict=True):
        if value is not None:
            instance(value, kind, name)
    generator(rng, optional=True)
    resume, progress = boolean(resume, "resume"), boolean(progress, "progress")
    start, field = (field, field.field) if isinstance(field, State) else (None, field)
    lattice = _lattice(forcefield, scheme)
    components = field.shape[-1] if forcefield is None else forcefield.components
    check_field(field, lattice.n_sites, components, finite=True)
    if wanted(field):
        raise ValueError("A run cannot be differentiated by its first field: pass field.detach().")
    schedule = np.zeros(0, dtype=np.int64) if record is None else record.schedule(steps)
    if start is not None:
        if velocity is not None or steps < start.step:
            raise ValueError(
                f"A state brings its velocity, and the {start.step} steps it has gone are part of steps={steps}: leave "
                f"out the velocity and ask for more steps, or start from its field."
            )
        schedule = schedule[schedule >= start.step]
    auditor = None
    if audit is not None:
        audit.check(forcefield)
        assert forcefield is not None
        at = audit.at if audit.at is not None else schedule.tolist() or (steps,)
        folder = None if path is None else Path(path) / FOLDER
        auditor = Auditor(audit, forcefield, [s for s in at if s <= steps], folder)
    if guard is not None:
        guard.check(field, 0 if start is None else start.step)
    with lock(path):
        return _run(
            forcefield, scheme, start, field, velocity, steps, schedule, record, rng, path, resume, guard,
            auditor, checkpoint_every, progress,
        )  # fmt: skip


def _run(
    forcefield: ForceField | None,
    scheme: Scheme,
    start: State | None,
    field: Tensor,
    velocity: Tensor | None,
    steps: int,
    schedule: np.ndarray,
    record: Every | At | None,
    rng: torch.Generator | None,
    path: str | Path | None,
    resume: bool,
    guard: Guard | None,
    auditor: Auditor | None,
    checkpoint_every: int | None,
    progress: bool,
) -> Trajectory:
    """What :func:`simulate` does once its arguments are checked and the folder is its own."""
    folder, state = None, None
    if path is not None:
        drawn = () if forcefield is None else forcefield.generators
        if rng in drawn:
            raise ValueError(
                "The forces draw from the rng of the run, so that a resumed run could not tell their random numbers "
                "from its own: give the solver a generator of its own."
            )
        folder = RunFolder(Path(path), _identity(forcefield, scheme, start, field, velocity, record, rng), drawn)
        state = folder.resume(resume, steps, forcefield, field, rng)
    if auditor is not None:
        auditor.begin(None if state is None else state.step)
    watch, longest = None, None
    if state is None and start is not None:
        state = _continued(start, scheme, forcefield, rng)
    elif state is None:
        state = scheme.start(field, forcefield, rng, velocity=velocity)  # type: ignore[arg-type]
        if forcefield is not None and scheme.moves is not None:
            longest = warn_if_unstable(scheme, state, forcefield, steps)
    if scheme.moves is not None and guard is None:
        watch = _Watch.of(field, longest)
    layout = [] if record is None else _columns(_measure(record, state))
    attributes = _attributes(forcefield, scheme, _lattice(forcefield, scheme), field)
    if folder is None:
        records = Records.start(None, layout, len(schedule), attributes)
    else:
        records = folder.create(state, rng, layout, len(schedule), attributes)

    try:
        with progress_bar(progress, unit="steps") as bar:
            shown = bar.add_task(type(scheme).__name__, total=steps, completed=state.step)
            saved = time.monotonic()
            fresh = True
            while True:
                if record is not None and records.appended < len(schedule) and schedule[records.appended] == state.step:
                    _check_finite(state.field, state.step)
                    if watch is not None:
                        watch.check(state.field, state.step)
                    row = {name: v.values for name, v in _measure(record, state).items()}
                    records.append({name: value[None] for name, value in {"step": np.array(state.step), **row}.items()})
                if auditor is not None:
                    auditor.look(state)
                if state.step >= steps:
                    break
                if folder is not None and not fresh and _due(state.step, checkpoint_every, saved):
                    folder.save_checkpoint(state, rng)
                    saved = time.monotonic()
                state = scheme.step(state, forcefield, rng)  # type: ignore[arg-type]
                fresh = False
                if guard is not None:
                    guard.check(state.field, state.step)
                elif watch is not None and (state.step % WATCHED == 0 or state.step == steps):
                    watch.check(state.field, state.step)
                if progress:
                    bar.update(shown, completed=state.step)
            _check_finite(state.field, state.step)
    except UntrustedError:
        if folder is not None:
            folder.records.flush()
        raise
    except OutOfRangeError as error:
        # What led there is worth a look; the checkpoint stays where it is.
        if folder is not None:
            folder.records.flush()
        if error.step < 0:
            raise error.at(state.step + 1) from error.__cause__
        raise
    if folder is not None:
        folder.save_checkpoint(state, rng)
    return Trajectory(records.xarray, state, None if auditor is None else auditor.data)


def _continued(state: State, scheme: Scheme, forcefield: ForceField | None, rng: torch.Generator | None) -> State:
    """A state of this scheme in this force field; ``ValueError`` for the state of another kind of scheme."""
    if forcefield is not None and forcefield.generators:
        return state  # asked again, such a force would be another one
    aside = None if rng is None else torch.Generator(rng.device)
    if rng is not None and aside is not None:
        aside.set_state(rng.get_state())
    fresh = scheme.start(state.field, forcefield, aside)  # type: ignore[arg-type]
    for name in ("velocity", "time", "tally"):
        then, now = getattr(state, name), getattr(fresh, name)
        if (now.keys() != then.keys()) if name == "tally" else (type(now) is not type(then)):
            raise ValueError(
                f"The state is not one of {type(scheme).__name__}, whose {name} is another: start from its field."
            )
    late = forcefield is not None and forcefield.driven  # the fresh start is at time 0
    return dataclasses.replace(state, forces=_forces(forcefield, state.field, state.time) if late else fresh.forces)


def _due(step: int, checkpoint_every: int | None, saved: float) -> bool:
    if checkpoint_every is not None:
        return step % checkpoint_every == 0
    return time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS


def _lattice(forcefield: ForceField | None, scheme: Scheme) -> Lattice:
    """The lattice of a run, on which scheme and force field must agree."""
    if forcefield is None:
        if scheme.lattice is None:
            raise TypeError(
                f"{type(scheme).__name__} moves by forces: pass a force field. None is for schemes of discrete moves."
            )
        return scheme.lattice
    if scheme.lattice is not None and not scheme.lattice.coincides(forcefield.lattice):
        raise ValueError(
            f"The moves live on {scheme.lattice!r}, the force field on {forcefield.lattice!r}; .on(lattice) moves one."
        )
    return forcefield.lattice


def _identity(
    forcefield: ForceField | None,
    scheme: Scheme,
    start: State | None,
    field: Tensor,
    velocity: Tensor | None,
    record: Every | At | None,
    rng: torch.Generator | None,
) -> dict[str, Any]:
    """Everything that decides the numbers of a run, as plain data; how long it is does not."""
    identity: dict[str, Any] = {
        "scheme": fingerprint(scheme),
        "forcefield": fingerprint(forcefield),
        "record": None if record is None else record.config(),
        "shape": list(field.shape),
        "dtype": str(field.dtype),
        "field": tensor_hash({"field": field}),
        "velocity": None if velocity is None else tensor_hash({"velocity": velocity}),
        "rng": None if rng is None else tensor_hash({"rng": rng.get_state()}),
    }
    if start is not None:
        carried = {"velocity": start.velocity, "noise": start.noise, "history": start.history, **start.tally}
        carried |= {"time": torch.as_tensor(start.time, dtype=torch.float64), "step": torch.tensor(start.step)}
        identity["start"] = tensor_hash({name: value for name, value in carried.items() if value is not None})
    if forcefield is not None and forcefield.generators:
        identity["chance"] = [tensor_hash({"rng": g.get_state()}) for g in forcefield.generators]
    # As it will read back: tuples become lists, so that a comparison sees differences of content only.
    return json.loads(json.dumps(identity))


def _attributes(forcefield: ForceField | None, scheme: Scheme, lattice: Lattice, field: Tensor) -> dict[str, Any]:
    """Where a trajectory comes from, in types that zarr and netCDF both hold."""
    attributes: dict[str, Any] = {
        "nearsight": nearsight.__version__,
        "scheme": json.dumps(scheme.config()),
        "forcefield": "none" if forcefield is None else repr(forcefield),
        "lattice": repr(lattice),
        "lattice_shape": list(lattice.shape),
        "dtype": str(field.dtype).removeprefix("torch."),
    }
    if field.ndim > 2:
        attributes["batch_shape"] = list(field.shape[:-2])
    return attributes
