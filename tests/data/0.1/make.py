"""Made the archives and ``expected.json`` beside it, with nearsight 0.1 (commit 170f5b7): ``python make.py``.

Kept to say what the files hold. Versions after 0.1 read them, but do not run this page: names have moved since.
"""

import contextlib
import gzip
import json
import shutil
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch

import nearsight as ns
from nearsight import forcefields, networks, training
from nearsight.descriptors import ACSF, BlockIrreps, BlockMoments, Irreps, SpinACE, SpinInvariants
from nearsight.fields import displacement, jahn_teller, occupation, random_spins, scalar, spin
from nearsight.lattices import Lattice, chain, honeycomb, square, triangular
from nearsight.studies import Run, get

HERE = Path(__file__).parent
EXPECTED: dict[str, dict] = {}
LOST = ("figures", "fit/checkpoint.safetensors", "report.html", "comparison/twins", "comparison/screened")
"""What a run can do without, and what would make the archives large."""


def rng(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(folder: Path, name: str, forcefield, field: torch.Tensor) -> None:
    """A force field with weights of no symmetry of their own, and its answer to a field."""
    with torch.no_grad():
        for parameter in forcefield.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=rng()).to(parameter)
    forcefield.eval()
    forcefields.save(forcefield, folder / name)
    answer = forcefield(field)
    energy = None if answer.energy is None else answer.energy.tolist()
    EXPECTED["models"][name] = {"field": field.tolist(), "force": answer.force.tolist(), "energy": energy}


def models(folder: Path) -> None:
    EXPECTED["models"] = {}
    flat, bent = square(4), honeycomb(3)
    q = torch.randn(16, 1, generator=rng(2), dtype=torch.float64)
    q3 = torch.randn(16, 3, generator=rng(3), dtype=torch.float64)
    u = torch.randn(18, 2, generator=rng(4), dtype=torch.float64)
    n = (q > 0).double()
    s = random_spins(flat, rng=rng(5))
    learned = {
        "irreps": (Irreps(flat, scalar(), 1.5), q),
        "irreps_phase": (Irreps(flat, scalar(), 1.5, mode="phase+bispectrum"), q),
        "irreps_pairs": (Irreps(bent, displacement(), 1.0, mode="pairs"), u),
        "irreps_eigenvalues": (Irreps(flat, jahn_teller(), 1.0, mode="eigenvalues"), q3),
        "acsf": (ACSF(flat, spin(), 2.0), s),
        "spin_invariants": (SpinInvariants(flat, spin(), 1.5), s),
        "spin_ace": (SpinACE(flat, spin(time_reversal=False), 1.5, channels=2, rng=rng()), s),
    }
    for name, (descriptor, field) in learned.items():
        model(folder, name, forcefields.LearnedForceField(descriptor, networks.MLP((3,), rng=rng())), field)
    grids = {
        "group_cnn_energy": (networks.GroupCNN(flat, scalar(), channels=2, radii=(1.5, 1.0), rng=rng()), q),
        "group_cnn_force": (
            networks.GroupCNN(flat, jahn_teller(), channels=2, radii=(1.0, 1.0), head="force", rng=rng()),
            q3,
        ),
        "spin_cnn": (networks.SpinCNN(flat, spin(), channels=2, rng=rng()), s),
        "symmetrised_mlp": (networks.SymmetrisedMLP(flat, scalar(), cutoff=1.5, widths=(4,), rng=rng()), q),
        "torque_resnet": (networks.TorqueResNet(flat, spin(), channels=(3, 3), kernel=3, rng=rng()), s),
        "embedded": (networks.EmbeddedNetwork(flat, occupation(), radius=1.5, channels=2, widths=(3,), rng=rng()), n),
    }
    for name, (network, field) in grids.items():
        model(folder, name, forcefields.ConvolutionalForceField(network.lattice, network), field)

    moves = forcefields.LearnedMoves(forcefields.load(folder / "embedded"))
    EXPECTED["moves"] = {"embedded": finite(moves.differences(n))}

    EXPECTED["properties"] = {}
    blocks = 2 * torch.randint(2, (3, 4, 4), generator=rng(6)) - 1
    for name, front in (
        ("block_cnn", networks.BlockCNN(4, channels=2, rng=rng())),
        ("block_irreps", BlockIrreps(4)),
        ("block_moments", BlockMoments(4)),
    ):
        found = forcefields.PropertyModel(front, networks.MLP((3,), rng=rng()), kind="probability").eval()
        found.save(folder / name)
        EXPECTED["properties"][name] = {"blocks": blocks.tolist(), "values": found(blocks).tolist()}


def typed(folder: Path) -> None:
    """Graphene in Ångström, typed with three digits: 0.1 saw fewer neighbours and symmetries there than there are."""
    lattice = Lattice("graphene", [[2.46, 0.0], [1.23, 2.13]], [[0.0, 0.0], [1.23, 0.71]], (3, 3))
    found = forcefields.LearnedForceField(Irreps(lattice, scalar(), 2.46), networks.MLP((3,), rng=rng()))
    forcefields.save(found, folder / "graphene")


def finite(energies: torch.Tensor) -> list[float | None]:
    """Energies of moves, None for those that are not possible."""
    return [e if np.isfinite(e) else None for e in energies.tolist()]


def holstein():
    lattice = chain(6)
    return forcefields.ExactForceField(
        ns.hamiltonians.Holstein(lattice, g=1.5, k=1.0, kappa=0.2), ns.solvers.Dense(mu=0.0, kT=0.1)
    )


def data(folder: Path) -> None:
    recipe = training.Recipe(
        random=training.Random(trajectories=2, snapshots=2),
        thermal=training.Thermal(trajectories=1, snapshots=2, burn_in=2, every=2),
        relaxing=training.Relaxing(trajectories=2, snapshots=3, steps=5),
        near_equilibrium=training.NearEquilibrium(trajectories=1, snapshots=1, steps=5),
    )
    found = training.generate(holstein(), recipe, folder / "forces.zarr", seed=1, workers=0, progress=False)
    EXPECTED["data"] = {
        "hash": found.hash,
        "field": found.field[:].tolist(),
        "force": found.force[:].tolist(),
        "energy": found.energy[:].tolist(),
    }
    gas = forcefields.LatticeGas(triangular(3), J=(0.3,))
    fields = (torch.rand(3, 9, 1, generator=rng(7)) < 0.4).double()
    moves = training.MoveData.label(gas, fields)
    moves.save(folder / "moves.safetensors")
    EXPECTED["move_data"] = {"hash": moves.hash, "difference": [finite(row) for row in torch.tensor(moves.difference)]}


def runs_of_schemes(folder: Path) -> None:
    """A finished run, and one that was stopped half way."""
    scheme = ns.dynamics.Langevin(dt=0.1, kT=0.1, damping=0.3, mass=1.0)
    start = torch.randn(2, 6, 1, generator=rng(8), dtype=torch.float64)

    def run(path: Path | None, stop: int | None = None, forcefield=None):
        forcefield = forcefield or holstein()
        if stop is not None:
            calls, evaluate = [0], forcefield.forward

            def counted(field):
                calls[0] += 1
                if calls[0] > stop:
                    raise KeyboardInterrupt
                return evaluate(field)

            forcefield.forward = counted
        return ns.dynamics.simulate(
            forcefield, scheme, start, steps=12, record=ns.dynamics.Every(3), rng=rng(9), path=path,
            checkpoint_every=6,
        )  # fmt: skip

    whole = run(folder / "finished")
    with contextlib.suppress(KeyboardInterrupt):
        run(folder / "stopped", stop=9)
    EXPECTED["trajectory"] = {
        "start": start.tolist(),
        "time": whole.data.time.values.tolist(),
        "field": whole.data.field.values.tolist(),
        "final": whole.final.field.tolist(),
    }


def run_of_study(folder: Path, name: str, *settings: str) -> None:
    study = get(name)
    run = study.run(folder / name, study.configure("tiny", settings))
    for lost in LOST:
        path = run.path / lost
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for spare in sorted(run.path.glob("comparison/*/*"))[1:]:
        if spare.is_dir() and spare.name != "trajectory.zarr":
            shutil.rmtree(spare)
    manifest = run.manifest
    manifest["machine"] = {"name": "laptop"} | {k: v for k, v in manifest["machine"].items() if k in ("cores", "gpu")}
    (run.path / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    groups = ns.studies.observables.names(run.path / "observables.nc")
    EXPECTED["runs"][name] = {
        "stages": list(run.stages),
        "verdicts": len(run.verdicts),
        "first": {k: v for k, v in vars(run.verdicts[0]).items() if k in ("quantity", "found")},
        "observables": {group: sums(run, group) for group in sorted(groups)},
    }


def sums(run: Run, group: str) -> dict[str, float]:
    found = run.observable(group)
    return {str(k): float(np.nansum(v.values)) for k, v in found.data_vars.items() if v.dtype.kind in "fiu"}


def pack(folder: Path, archive: Path) -> None:
    with open(archive, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed, \
            tarfile.open(fileobj=packed, mode="w") as tar:  # fmt: skip
        for path in sorted(folder.rglob("*")):
            info = tar.gettarinfo(path, str(path.relative_to(folder)))
            info.uid = info.gid = info.mtime = 0
            info.uname = info.gname = ""
            if path.is_file():
                with open(path, "rb") as content:
                    tar.addfile(info, content)
            else:
                tar.addfile(info)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        for folder, make in (("models", models), ("models", typed), ("data", data), ("trajectories", runs_of_schemes)):
            (work / folder).mkdir(exist_ok=True)
            make(work / folder)
        EXPECTED["runs"] = {}
        for study in ("holstein", "falicov_kimball", "ising_blocks"):
            run_of_study(work / "runs", study)
        for folder in ("models", "data", "trajectories"):
            pack(work / folder, HERE / f"{folder}.tar.gz")
        for folder in sorted((work / "runs").iterdir()):
            pack(folder, HERE / f"run_{folder.name}.tar.gz")
    (HERE / "expected.json").write_text(json.dumps(EXPECTED) + "\n")
