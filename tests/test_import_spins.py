"""Spins of other programs: any layout is read, and wrong conventions are found where they can be."""

import io
import itertools
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
import torch

from nearsight.dynamics import SemiImplicit
from nearsight.fields import random_spins, spin, tangent
from nearsight.forcefields import ClassicalForceField, ExactForceField
from nearsight.hamiltonians import Heisenberg, SDModel
from nearsight.lattices import Lattice, honeycomb, square, triangular
from nearsight.solvers import Dense
from nearsight.storage import CorruptFileError, read_yaml, write_yaml
from nearsight.training import DataSet, check_spins, import_spins
from nearsight.training import _array_files as array_files

J = (0.3, 0.0, -0.2)
LATTICE = triangular(6)


def spins(count: int, rng: torch.Generator, lattice: Lattice = LATTICE) -> torch.Tensor:
    return spin().random(lattice.n_sites, 3, rng, count)


def exact(lattice: Lattice = LATTICE, **options) -> ClassicalForceField:
    return ClassicalForceField(Heisenberg(lattice, J=J, **options))


def data_set(forcefield, field, **options) -> DataSet:
    force, energy = forcefield(field)
    return DataSet.from_arrays(
        lattice=forcefield.lattice, field=field, force=force, energy=energy, components=3, **options
    )


def card(folder, *files, shape=(6, 6), axes=("snapshot", "site", "component"), **entries):
    content = {
        "lattice": "triangular",
        "shape": list(shape),
        "files": list(files),
        "axes": axes and list(axes),
        **entries,
    }
    write_yaml(folder / "card.yaml", content)
    return folder / "card.yaml"


def read(*arguments, **options) -> DataSet:
    """An import that finds nothing to warn about."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return import_spins(card(*arguments, **options))


# --- layouts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", list(itertools.permutations(["snapshot", "0", "1", "component"]))[::5], ids=repr)
@pytest.mark.parametrize("suffix", ["npz", "pt"])
def test_axes_in_any_order_give_the_same_data(axes, suffix, tmp_path, rng):
    lattice = triangular(6, 4)
    field = spins(5, rng, lattice)
    force = exact(lattice)(field).force
    place = {name: k for k, name in enumerate(("snapshot", "0", "1", "component"))}
    S, H = (x.reshape(5, 6, 4, 3).permute([place[a] for a in axes]).contiguous().float() for x in (field, force))
    if suffix == "npz":
        np.savez(tmp_path / "a.npz", spins=S.numpy(), fields=H.numpy(), comment=np.array("not a number"))
    else:
        torch.save({"spins": S, "fields": H}, tmp_path / "a.pt")
    data = read(tmp_path, f"a.{suffix}", shape=(6, 4), axes=axes)
    torch.testing.assert_close(data.field, field, atol=1e-7, rtol=0)
    torch.testing.assert_close(data.force, force, atol=1e-6, rtol=0)
    assert float((data.field.norm(dim=-1) - 1).abs().max()) < 1e-14


def test_sites_of_a_cell_have_an_axis_of_their_own(tmp_path, rng):
    lattice = honeycomb(3)
    field = spins(4, rng, lattice)
    force = ClassicalForceField(Heisenberg(lattice))(field).force
    S, H = (x.reshape(4, 3, 3, 2, 3).movedim(3, 1).numpy() for x in (field, force))
    np.savez(tmp_path / "a.npz", spins=S, fields=H)
    axes = ("snapshot", "basis", "0", "1", "component")
    data = read(tmp_path, "a.npz", lattice="honeycomb", shape=(3, 3), axes=axes)
    assert torch.equal(data.force, force) and data.attrs["checks"]["exchange"]["left"] < 1e-12


def test_axes_at_120_degrees_are_brought_into_the_order_of_the_library(tmp_path, rng):
    field = spins(5, rng)
    force = exact()(field).force
    # n₁ along (1, 0) and n₂ along (-1/2, √3/2) = a₂ - a₁.
    n1, n2 = np.meshgrid(range(6), range(6), indexing="ij")
    sites = LATTICE.index(np.stack([n1 - n2, n2], -1)).reshape(-1)
    np.savez(tmp_path / "a.npz", spins=field[:, sites].numpy(), fields=force[:, sites].numpy())
    data = read(tmp_path, "a.npz", vectors=[[1, 0], [-0.5, 0.866]])
    torch.testing.assert_close(data.field, field, atol=1e-15, rtol=0)
    torch.testing.assert_close(data.force, force, atol=0, rtol=0)
    with pytest.raises(ValueError, match=r"axis 1 reversed; give the primitive vectors"):
        import_spins(card(tmp_path, "a.npz"))


@pytest.mark.parametrize("meaning", ["field", "torque"])
@pytest.mark.parametrize("factor", [1.0, -2.0])
def test_torques_and_other_signs_and_units_become_fields(meaning, factor, tmp_path, rng):
    field = spins(5, rng)
    force, energy = exact()(field)
    stored = (torch.linalg.cross(field, force) if meaning == "torque" else force) / factor
    np.savez(tmp_path / "a.npz", spins=field.numpy(), fields=stored.numpy(), E=energy.numpy())
    data = read(tmp_path, "a.npz", meaning=meaning, factor=factor, energy="E", model={"J": list(J), "source": "me"})
    expected = tangent(force, field) if meaning == "torque" else force
    torch.testing.assert_close(data.force, expected, atol=1e-14, rtol=0)
    assert torch.equal(data.energy, energy) and data.attrs["card"]["model"]["source"] == "me"
    assert data.attrs["checks"]["parallel"] == pytest.approx(
        0.0 if meaning == "torque" else check_spins(data_set(exact(), field))["parallel"], abs=1e-14
    )


@pytest.mark.parametrize("meaning", ["field", "torque"])
def test_an_external_field_is_found_and_taken_out(meaning, tmp_path, rng):
    field, B = spins(12, rng), (0.02, 0.0, 0.05)
    force, energy = exact(B=B)(field)
    stored = torch.linalg.cross(field, force) if meaning == "torque" else force
    np.savez(tmp_path / "a.npz", spins=field.numpy(), fields=stored.numpy(), E=energy.numpy())
    with pytest.warns(UserWarning, match=r"uniform field of \(0\.02, .*, 0\.05\); give it as external"):
        found = import_spins(card(tmp_path, "a.npz", meaning=meaning), trust=True).attrs["checks"]["uniform_field"]
    assert found["B"] == pytest.approx(B, abs=1e-12) and found["left"] < 1e-12
    data = read(tmp_path, "a.npz", meaning=meaning, external=list(B), energy="E")
    without = exact()(field)
    torch.testing.assert_close(tangent(data.force, field), tangent(without.force, field), atol=1e-14, rtol=0)
    torch.testing.assert_close(data.energy, without.energy)


def test_every_file_is_a_trajectory_unless_the_files_say_otherwise(tmp_path, rng):
    for name in "ab":
        field = spins(3, rng)
        force = exact()(field).force
        t, run = np.arange(3.0), np.array([7, 7, 8])
        np.savez(tmp_path / f"run_{name}.npz", spins=field.numpy(), fields=force.numpy(), t=t, run=run)
    data = read(tmp_path, "run_*.npz", time="t")
    assert data.trajectory.tolist() == [0, 0, 0, 1, 1, 1] and data.time.tolist() == [0, 1, 2] * 2
    assert read(tmp_path, "run_*.npz", trajectory="run").trajectory.tolist() == [7, 7, 8] * 2
    assert set(data.attrs["source_hash"]) == {"card.yaml", "run_a.npz", "run_b.npz"}


# --- files ----------------------------------------------------------------------------------------------------------


def table(field: torch.Tensor, force: torch.Tensor, separator: str, header: str = "") -> str:
    """Rows x y Sx Sy Sz Hx Hy Hz E, one for every site of every snapshot."""
    lines = [header] if header else []
    for snapshot, (S, H) in enumerate(zip(field.tolist(), force.tolist(), strict=True)):
        for cell, s, h in zip(LATTICE.cells.tolist(), S, H, strict=True):
            lines.append(separator.join(map(repr, [*cell, *s, *h, float(snapshot)])))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("name", "separator", "header"),
    [
        ("a.csv", ",", "x,y,Sx,Sy,Sz,Hx,Hy,Hz,E"),
        ("a.csv", "; ", '"x";"y";"Sx";"Sy";"Sz";"Hx";"Hy";"Hz";"E"'),
        ("a.dat", "  ", "# x y Sx Sy Sz Hx Hy Hz E"),
        ("a.txt", "\t", "# written by another program\n"),
        ("a.dat", " ", ""),
    ],
)
def test_columns_of_text_are_read_by_name_and_by_number(name, separator, header, tmp_path, rng):
    field = spins(2, rng)
    force = exact()(field).force
    text = table(field, force, separator, header)
    (tmp_path / name).write_text(text.replace("e-", "D-") if name == "a.txt" else text)
    columns = (["Sx", "Sy", "Sz"], ["Hx", "Hy", "Hz"], "E") if "Sx" in header else ([2, 3, 4], [5, 6, 7], 8)
    known = dict(zip(("spins", "fields", "energy"), columns, strict=True))
    for axes in (("snapshot", "site"), ("snapshot", "0", "1")):
        data = read(tmp_path, name, axes=axes, **known)
        torch.testing.assert_close(data.field, field, atol=1e-15, rtol=0)
        assert torch.equal(data.force, force) and data.energy.tolist() == [0.0, 1.0]
    with pytest.raises(ValueError, match="has 72 rows, not 25 for each snapshot"):
        import_spins(card(tmp_path, name, axes=("snapshot", "site"), shape=[5, 5], **known))


def test_every_array_may_have_files_of_its_own(tmp_path, rng):
    field = spins(4, rng)
    force = exact()(field).force
    for n in range(2):
        part = slice(2 * n, 2 * n + 2)
        np.save(tmp_path / f"S_{n}.npy", field[part].numpy())
        torch.save(force[part].clone(), tmp_path / f"H_{n}.pt")
        np.savetxt(tmp_path / f"E_{n}.txt", [n, n + 0.5])
    files = {"spins": "S_*.npy", "fields": "H_*.pt", "energy": "E_*.txt"}
    data = import_spins(_card(tmp_path, files, energy="energy"))
    assert torch.equal(data.force, force) and data.energy.tolist() == [0.0, 0.5, 1.0, 1.5]
    assert data.trajectory.tolist() == [0, 0, 1, 1]
    (tmp_path / "H_1.pt").unlink()
    with pytest.raises(ValueError, match="as many for each array, found 2 of spins, 1 of fields"):
        import_spins(_card(tmp_path, files))
    with pytest.raises(ValueError, match="files gives no file for 'fields'; it has spins"):
        import_spins(_card(tmp_path, {"spins": "S_*.npy"}))


def _card(folder, files, **entries):
    path = card(folder, **entries)
    content = read_yaml(path) | {"files": files}
    write_yaml(path, content)
    return path


def test_snapshots_of_a_file_are_independent_if_the_card_says_so(tmp_path, rng):
    field = spins(100, rng)
    np.savez(tmp_path / "a.npz", spins=field.numpy(), fields=exact()(field).force.numpy())
    with pytest.raises(ValueError, match="1 trajectories are too few"):
        read(tmp_path, "a.npz").split()
    data = read(tmp_path, "a.npz", independent=True)
    assert sorted(len(part) for part in data.split()) == [15, 15, 70]


@pytest.mark.parametrize("periodic", [False, [True, False]])
def test_open_boundaries_are_declared(periodic, tmp_path, rng):
    lattice = triangular(6, periodic=periodic if periodic is False else tuple(periodic))
    field = spins(3, rng, lattice)
    np.savez(tmp_path / "a.npz", spins=field.numpy(), fields=exact(lattice)(field).force.numpy())
    assert read(tmp_path, "a.npz", periodic=periodic).lattice.coincides(lattice)


def test_files_lie_anywhere_and_have_any_name(tmp_path, rng):
    field = spins(2, rng)
    arrays = {"spins": field.numpy(), "fields": exact()(field).force.numpy()}
    elsewhere, here = tmp_path / "data [old]", tmp_path / "cards [new]"
    elsewhere.mkdir()
    here.mkdir()
    for place in (elsewhere / "run[1].npz", here / "run[1].npz", here / "run[2].npz"):
        np.savez(place, **arrays)
    write_yaml(here / "card.yaml", {"lattice": "triangular", "shape": 6, "axes": ["snapshot", "site", "component"]})
    for files, count in [
        ("run[1].npz", 2),
        ("run*.npz", 4),
        ([str(elsewhere / "run[1].npz"), "run[[]1].npz"], 4),
        (str(tmp_path / "*" / "run*.npz"), 6),
    ]:
        data = import_spins(_card_at(here, files))
        assert len(data) == count and len(data.attrs["source_hash"]) == count // 2 + 1


def _card_at(folder, files):
    write_yaml(folder / "card.yaml", read_yaml(folder / "card.yaml") | {"files": files})
    return folder / "card.yaml"


def test_a_file_that_unpacks_to_far_more_than_it_holds_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(array_files, "UNPACKED", 2**22)
    np.savez_compressed(tmp_path / "a.npz", spins=np.zeros((5000, 36, 3)), fields=np.zeros((5000, 36, 3)))
    torch.save({"spins": torch.zeros(1).expand(5000, 36, 3), "fields": torch.zeros(1)}, tmp_path / "b.pt")
    np.savez_compressed(tmp_path / "c.npz", field=np.zeros((5000, 36, 3)), force=np.zeros((5000, 36, 3)))
    tracemalloc.start()
    for name in ("a.npz", "b.pt"):
        with pytest.raises(ValueError, match=r"bytes but unpacks to [\d,]+: it is not read"):
            import_spins(card(tmp_path, name))
    with pytest.raises(ValueError, match=r"bytes but unpacks to [\d,]+: it is not read"):
        DataSet.from_npz(tmp_path / "c.npz", lattice=LATTICE, components=3)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_header_that_promises_more_than_follows_is_refused(tmp_path):
    for name in ("a.npy", "a.npz"):
        content = io.BytesIO()
        np.lib.format.write_array_header_1_0(content, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 36, 3)})
        content.write(b"\0" * 64)
        if name == "a.npy":
            (tmp_path / name).write_bytes(content.getvalue())
        else:
            with zipfile.ZipFile(tmp_path / name, "w") as archive:
                archive.writestr("spins.npy", content.getvalue())
                archive.writestr("fields.npy", content.getvalue())
        with pytest.raises(CorruptFileError, match=r"the header of .* promises"):
            import_spins(card(tmp_path, name, **({"spins": [0, 1, 2], "axes": ("site",)} if name == "a.npy" else {})))


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda x: x.to_sparse(), "sparse_coo"),
        (lambda x: x.to("meta"), "meta"),
    ],
)
def test_tensors_without_elements_are_refused(make, kind, tmp_path, rng):
    field = spins(2, rng)
    torch.save({"spins": field, "fields": make(field)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=f"'fields' is a {kind} tensor; save a dense one"):
        import_spins(card(tmp_path, "a.pt"))


# --- conventions ----------------------------------------------------------------------------------------------------


def test_torques_of_electrons_add_up_to_zero():
    rng = torch.Generator().manual_seed(3)
    model = SDModel(triangular(4), t=(1.0, 0.4), J=2.0)
    field = spins(6, rng, triangular(4))
    checks = check_spins(data_set(ExactForceField(model, Dense(mu=-1.0, kT=0.1)), field))
    assert checks["total_torque"] < 1e-12
    mixed = DataSet.from_arrays(
        lattice=model.lattice,
        field=field.roll(1, 1),
        force=ExactForceField(model, Dense(mu=-1.0, kT=0.1))(field).force,
        components=3,
    )
    assert check_spins(mixed)["total_torque"] > 0.5


def test_noise_of_the_labels_shows_in_the_total_torque(rng):
    """Independent errors add up at random: the sum rule measures them without a referee."""
    field = spins(400, rng)
    force = exact()(field).force
    noise = 0.03 * torch.randn(force.shape, generator=rng, dtype=torch.float64)
    data = DataSet.from_arrays(lattice=LATTICE, field=field, force=force + noise, components=3)
    torques = [torch.linalg.cross(field, x).square().sum(-1).mean().sqrt() for x in (noise, force + noise)]
    assert check_spins(data)["total_torque"] == pytest.approx(float(torques[0] / torques[1]), rel=0.1)


def test_components_in_another_order_break_the_sum_rule(tmp_path, rng):
    field = spins(8, rng)
    force = exact()(field).force[..., [1, 0, 2]]
    np.savez(tmp_path / "a.npz", spins=field.numpy(), fields=force.numpy())
    with pytest.raises(ValueError, match=r"add up to .* instead of 0.* had components in the order y, x, z"):
        import_spins(card(tmp_path, "a.npz"))


def test_the_linear_law_recovers_planted_couplings(rng):
    found = check_spins(data_set(exact(triangular(9)), spins(4, rng, triangular(9))), cutoff=3.0)["exchange"]
    assert found["distance"] == pytest.approx([1, 3**0.5, 2, 7**0.5, 3], abs=1e-5)
    assert found["coupling"] == pytest.approx([0.3, 0, -0.2, 0, 0], abs=1e-12)
    assert found["left"] < 1e-12 and list(found["others"]) == [
        "axis 1 reversed",
        "axes in the order 1, 0 and axis 1 reversed",
    ]
    assert min(found["others"].values()) > 0.3


def test_all_orders_of_the_axes_are_symmetries_of_the_square_lattice(rng):
    checks = check_spins(data_set(ClassicalForceField(Heisenberg(square(6))), spins(4, rng, square(6))))
    assert checks["exchange"]["others"] == {}


def run(sign: float, damping: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, np.ndarray]:
    rng = torch.Generator().manual_seed(2)
    scheme, forcefield = SemiImplicit(dt=0.02, kT=0.0, damping=damping), exact()
    state = scheme.start(random_spins(LATTICE, rng=rng), forcefield, rng)
    states = [state]
    for _ in range(10):
        state = scheme.step(state, forcefield, rng)
        states.append(state)
    fields = torch.stack([s.field for s in states])
    force, energy = forcefield(fields)
    return fields, sign * force, energy, np.array([float(s.time) for s in states])


@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_motion_and_energies_tell_the_sign_of_the_fields(damping, tmp_path):
    for sign in (1.0, -1.0):
        fields, force, energy, time = run(sign, damping)
        data = DataSet.from_arrays(
            lattice=LATTICE, field=fields, force=force, energy=energy, time=time, components=3,
            trajectory=np.zeros(11, dtype=int),
        )  # fmt: skip
        checks = check_spins(data)
        assert checks["precession"]["slope"] == pytest.approx(sign, rel=1e-3)
        if damping:
            assert checks["work"] == pytest.approx({"slope": sign, "correlation": sign}, rel=1e-3)
    np.savez(tmp_path / "a.npz", spins=fields.numpy(), fields=force.numpy(), t=time)
    with pytest.raises(ValueError, match=r"dS/dt = S × H holds for -1 H instead of H; give factor: -1 instead of 1"):
        import_spins(card(tmp_path, "a.npz", time="t"))


@pytest.mark.parametrize("scale", [0.5, 2.0, -1.0, -4.0])
@pytest.mark.parametrize("factor", [1.0, -3.0])
@pytest.mark.parametrize("told_by", ["time", "energy"])
def test_the_factor_that_is_proposed_is_the_cure(scale, factor, told_by, tmp_path):
    """Fields stored as ``scale`` H, whatever factor the card tried first: the next import finds nothing."""
    fields, force, energy, time = run(1.0, 0.3)
    np.savez(tmp_path / "a.npz", spins=fields.numpy(), fields=scale * force.numpy(), t=time, E=energy.numpy())
    known = {"time": "t"} if told_by == "time" else {"time": "t", "energy": "E"}
    with pytest.warns(UserWarning, match="give factor") as caught:
        import_spins(card(tmp_path, "a.npz", factor=factor, **known), trust=True)
    claim = "dS/dt = S × H" if told_by == "time" else "H = -∂E/∂S"
    proposed = str(caught[0].message).split(claim)[1].split("give factor: ")[1].split(" instead")[0]
    data = read(tmp_path, "a.npz", factor=float(proposed), **known)
    torch.testing.assert_close(data.force, force, atol=1e-3, rtol=1e-2)


def test_times_in_another_unit_are_brought_into_that_of_the_fields(tmp_path):
    fields, force, _, time = run(1.0, 0.3)
    np.savez(tmp_path / "a.npz", spins=fields.numpy(), fields=force.numpy(), t=time / 4.0)
    with pytest.raises(ValueError, match=r"or time_factor: 4 if times are in another unit"):
        import_spins(card(tmp_path, "a.npz", time="t"))
    data = read(tmp_path, "a.npz", time="t", time_factor=4.0)
    np.testing.assert_allclose(data.time, time)


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"axes": ["snapshot", "0", "component"]}, "axes must be an order of snapshot, 0, 1, component"),
        ({"axes": ["site", "snapshot", "component"]}, r"has shape \(2, 36, 3\), but the card says \(site: 36"),
        ({"spins": "S"}, "has no array 'S'; it has fields, spins"),
        ({"vectors": [[1, 0], [0, 1]]}, "are no primitive vectors of the triangular lattice"),
        ({"vectors": [[1, 0, 0]]}, "2 rows of 2 numbers"),
        ({"hopping": 1.0}, "is no card of spins"),
        ({"lattice": "cubic lattice"}, "is no card of spins"),
        ({"energy": "fields"}, "one number for each of 2 snapshots"),
        ({"shape": [6, 6, 6]}, "is not one of a lattice of kind triangular; give one number"),
        ({"shape": [0, 6]}, "greater than or equal to 1"),
        ({"lattice": "bcc", "shape": [6, 6, 5]}, "where they may differ"),
        ({"factor": 0.0}, "a factor of 0 leaves no fields"),
        ({"factor": float("nan")}, "finite number"),
        ({"external": [0.0, 0.0, float("inf")]}, "finite number"),
        ({"meaning": "torqe"}, "meaning must be 'field' or 'torque', got 'torqe'"),
        (
            {"hopping": 1.0, "shapes": 6},
            "there is no entry hopping; entries are .*; there is no entry shapes; did you mean",
        ),
        ({"periodic": "no"}, "periodic should be a valid boolean, got 'no'"),
        ({"factor": "twice"}, "factor should be a valid number.*, got 'twice'"),
        ({"axes": None}, "axes should be a valid list, got None"),
        ({"spins": ["Sx", "Sy"]}, "spins "),
        ({"spins": ["Sx", "Sy", "Sz"]}, "has no array 'Sx'; it has fields, spins"),
    ],
    ids=lambda x: str(x)[:30],
)
def test_cards_that_do_not_fit_are_refused_with_their_cure(change, message, tmp_path, rng):
    field = spins(2, rng)
    np.savez(tmp_path / "a.npz", spins=field.numpy(), fields=exact()(field).force.numpy())
    with pytest.raises(ValueError, match=message):
        import_spins(card(tmp_path, "a.npz", **change))


def test_spins_of_another_length_are_refused(tmp_path, rng):
    field = 1.5 * spins(2, rng)
    np.savez(tmp_path / "a.npz", spins=field.numpy(), fields=field.numpy())
    with pytest.raises(ValueError, match=r"deviate from 1 by up to 0\.5"):
        import_spins(card(tmp_path, "a.npz"))


@pytest.mark.parametrize("name", ["spins", "fields"])
def test_values_that_are_no_numbers_are_refused_by_file_and_snapshot(name, tmp_path, rng):
    arrays = {"spins": spins(3, rng).numpy(), "fields": spins(3, rng).numpy()}
    arrays[name][1, 5, 0] = np.nan
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=rf"a\.npz: '{name}' holds NaN or infinite values in 1 snapshots, .* 1; leave"):
        import_spins(card(tmp_path, "a.npz"))
    np.savez(tmp_path / "b.npz", **{key: values[:0] for key, values in arrays.items()})
    with pytest.raises(ValueError, match="holds no snapshot"):
        import_spins(card(tmp_path, "b.npz"))
    torch.save({key: torch.from_numpy(values).to(torch.complex64) for key, values in arrays.items()}, tmp_path / "c.pt")
    with pytest.raises(ValueError, match="'spins' holds complex numbers"):
        import_spins(card(tmp_path, "c.pt"))


def test_every_file_is_found_and_read_once(tmp_path, rng):
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", spins=(field := spins(2, rng)).numpy(), fields=exact()(field).force.numpy())
    assert read(tmp_path, "b.npz", "*.npz").trajectory.tolist() == [0, 0, 1, 1]
    with pytest.raises(FileNotFoundError, match=r"is named run_c\.npz"):
        import_spins(card(tmp_path, "*.npz", "run_c.npz"))


def test_axes_of_the_grid_need_no_quotation_marks(tmp_path, rng):
    field = spins(2, rng).requires_grad_()
    torch.save(
        {"spins": field.reshape(2, 6, 6, 3), "fields": exact()(field).force.reshape(2, 6, 6, 3)}, tmp_path / "a.pt"
    )
    assert torch.equal(
        read(tmp_path, "a.pt", axes=("snapshot", 0, 1, "component")).field,
        read(tmp_path, "a.pt", axes=("snapshot", "0", "1", "component"), shape=(6,)).field,
    )


def test_a_folder_that_holds_something_else_is_never_replaced(tmp_path, rng):
    field = spins(2, rng)
    np.savez(tmp_path / "a.npz", spins=field.numpy(), fields=exact()(field).force.numpy())
    with pytest.raises(FileExistsError, match="is no data set; choose another path"):
        import_spins(card(tmp_path, "a.npz"), tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"a.npz", "card.yaml"}
    first = import_spins(card(tmp_path, "a.npz"), tmp_path / "out")
    assert import_spins(card(tmp_path, "a.npz"), tmp_path / "out").hash == first.hash
    with pytest.raises(ValueError, match="holds NaN"):
        np.savez(tmp_path / "b.npz", spins=field.numpy(), fields=np.full((2, 36, 3), np.nan))
        import_spins(card(tmp_path, "b.npz"), tmp_path / "other")
    assert {file.name for file in tmp_path.iterdir()} == {"a.npz", "b.npz", "card.yaml", "out"}


class Harmful:
    def __reduce__(self):
        return (print, ("executed",))


def test_nothing_is_unpickled(tmp_path, capsys):
    torch.save({"spins": Harmful()}, tmp_path / "a.pt")
    np.savez(tmp_path / "a.npz", spins=np.array([Harmful()], dtype=object), allow_pickle=True)
    np.save(tmp_path / "a.npy", np.array([Harmful()], dtype=object), allow_pickle=True)
    for name in ("a.pt", "a.npz", "a.npy"):
        with pytest.raises(ValueError, match="Python objects, which are not loaded"):
            import_spins(card(tmp_path, name))
    np.savez(tmp_path / "b.npz", field=np.array([Harmful()], dtype=object), force=np.zeros(1), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects, which are not loaded"):
        DataSet.from_npz(tmp_path / "b.npz", lattice=LATTICE, components=3)
    assert "executed" not in capsys.readouterr().out


def test_files_that_are_missing_cut_or_unknown_are_named(tmp_path, rng):
    with pytest.raises(FileNotFoundError, match=r"No file beside .* is named run_\*\.npz"):
        import_spins(card(tmp_path, "run_*.npz"))
    torch.save({"spins": spins(2, rng), "fields": spins(2, rng)}, tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:500])
    with pytest.raises(CorruptFileError, match=r"a\.pt is not a whole file"):
        import_spins(card(tmp_path, "a.pt"))
    (tmp_path / "a.xyz").write_text("1 2 3")
    with pytest.raises(ValueError, match=r"files are \.npz, .*, not '\.xyz'"):
        import_spins(card(tmp_path, "a.xyz"))
