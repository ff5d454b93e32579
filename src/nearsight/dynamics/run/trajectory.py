"""What a run leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import xarray as xr
from torch import Tensor

from nearsight.dynamics.run._checkpoint import CHECKPOINT, TRAJECTORY, Checkpoint
from nearsight.dynamics.run._record_store import Records
from nearsight.dynamics.run.audit import stored
from nearsight.dynamics.scheme import State
from nearsight.storage import owned


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Records of a run and the state it ended in.

    ``data`` is an :class:`xarray.Dataset` with the dimensions ``record``, ``replica`` (the batch, flattened; absent for
    a single field), ``site`` and ``component``, and the coordinates ``step`` and ``time``; its attributes tell where it
    came from. On disk it is read lazily. ``final`` is the last :class:`State`, from which another run can start.

    :func:`simulate` returns it.
    """

    data: xr.Dataset
    final: State
    audit: xr.Dataset | None = None
    """What an :class:`~nearsight.dynamics.Audit` found of the forces, if there was one."""

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> Trajectory:
        """A run on disk, finished or not: what it has committed so far.

        Every record is read once and compared with what the checkpoint vouches for (``verify=False`` trusts the disk,
        where a missing file reads as NaN or zeros). Raises ``CorruptFileError`` that names what is damaged.
        """
        path = Path(path)
        if not (path / CHECKPOINT).exists():
            raise FileNotFoundError(f"There is no run in {path}: {CHECKPOINT} is missing. Check the path.")
        checkpoint = Checkpoint.load(path / CHECKPOINT, torch.device("cpu"))
        # Without the hashes of the checkpoint nothing is read yet.
        rows, digests = (checkpoint.records, checkpoint.digests) if verify else (0, {})
        data = Records.resume(path / TRAJECTORY, rows, digests).xarray
        return cls(data.isel(record=slice(checkpoint.records)), checkpoint.state, stored(path))

    @property
    def batch(self) -> tuple[int, ...]:
        """Shape of the batch of replicas."""
        return tuple(self.final.field.shape[:-2])

    def tensor(self, name: str) -> Tensor:
        """One recorded quantity ``(record, *batch, ...)``, with the batch in its own shape."""
        variable = self.data[name]
        values = owned(torch.from_numpy(variable.values))
        if "replica" not in variable.dims:
            return values
        return values.reshape(len(values), *self.batch, *values.shape[2:])

    def __repr__(self) -> str:
        names = ", ".join(map(str, self.data.data_vars)) or "nothing"
        replicas = f", {' × '.join(map(str, self.batch))} replicas" if self.batch else ""
        return f"Trajectory: {self.final.step} steps{replicas}, {self.data.sizes['record']} records of {names}"
