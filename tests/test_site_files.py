"""Files of micromagnetics and of visualisation: read as their formats are printed, written so that others read them."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from nearsight.fields import random_spins
from nearsight.forcefields import ClassicalForceField
from nearsight.hamiltonians import Heisenberg
from nearsight.lattices import PointCloud, Structures, chain, cubic, honeycomb, square, triangular
from nearsight.storage import CorruptFileError, write_yaml
from nearsight.training import export_sites, import_spins
from nearsight.training._array_files import read_arrays

# As OOMMF's User's Guide prints the formats: x runs fastest.
OVF = """# OOMMF{version}
#
## a comment
# Segment count: 1
# Begin: Segment
# Begin: Header
# Title: m
# Desc: Total simulation time:  4e-12  s
# meshtype: rectangular
# meshunit: m
# xmin: 0
# xnodes: 3
# ynodes: 2
# znodes: 1
{more}# End: Header
# Begin: Data {kind}
"""
END = "\n# End: Data {kind}\n# End: Segment\n"
NUMBERS = [[float(100 * c + 10 * y + x) for c in range(3)] for y in range(2) for x in range(3)]
GRID = np.array(NUMBERS).reshape(1, 2, 3, 3)


def ovf(version: int, kind: str, *, numbers=NUMBERS, factor: float = 1.0) -> bytes:
    more = f"# valuemultiplier: {factor}\n" if version == 1 else "# valuedim: 3\n# valuelabels: m_x m_y m_z\n"
    name = ": rectangular mesh v1.0" if version == 1 else " OVF 2.0"
    flat = [x for row in numbers for x in row]
    if kind == "Text":
        data = "\n".join(" ".join(f"{x:.6e}" for x in row) for row in numbers).encode()
    else:
        width, check = {"Binary 4": ("f", 1234567.0), "Binary 8": ("d", 123456789012345.0)}[kind]
        data = struct.pack(f"{'<' if version == 2 else '>'}{len(flat) + 1}{width}", check, *flat)
    return OVF.format(version=name, more=more, kind=kind).encode() + data + END.format(kind=kind).encode()


@pytest.mark.parametrize("kind", ["Text", "Binary 4", "Binary 8"])
@pytest.mark.parametrize("version", [1, 2])
def test_ovf_is_read_as_its_format_is_printed(version, kind, tmp_path):
    (tmp_path / "m.ovf").write_bytes(ovf(version, kind))
    found = read_arrays(tmp_path / "m.ovf", ["", "1"])
    np.testing.assert_allclose(found[""], GRID)
    np.testing.assert_allclose(found["1"], GRID[..., 1])


@pytest.mark.parametrize("name", ["meshio_ascii.vtk", "meshio_binary.vtk", "meshio_v5.vtk", "pyovf_binary.ovf"])
def test_files_of_other_programs_are_read(name):
    """Written by pyovf 0.3.0 and meshio 5.3.5 (VTK 4.2 as text and binary, 5.1 binary) from the same numbers."""
    file = Path(__file__).parent / "data" / "other_programs" / name
    if file.suffix == ".ovf":
        np.testing.assert_array_equal(read_arrays(file, [""])[""], GRID)
        return
    found = read_arrays(file, ["m", "energy"])
    np.testing.assert_array_equal(found["m"], np.array(NUMBERS))
    np.testing.assert_array_equal(found["energy"], np.arange(6) / 8)


def test_the_multiplier_of_ovf_1_counts(tmp_path):
    (tmp_path / "m.omf").write_bytes(ovf(1, "Binary 4", factor=8e5))
    np.testing.assert_allclose(read_arrays(tmp_path / "m.omf", [""])[""], 8e5 * GRID)


VTK = """# vtk DataFile Version 3.0
by hand
{kind}
DATASET STRUCTURED_POINTS
DIMENSIONS 3 2 1
ORIGIN 0 0 0
SPACING 1 1 1
POINT_DATA 6
"""


@pytest.mark.parametrize("binary", [False, True])
def test_vtk_is_read_as_its_format_is_printed(binary, tmp_path):
    flat, six = [x for row in NUMBERS for x in row], list(range(6))

    def block(form, values):
        return struct.pack(f">{len(values)}{form}", *values) if binary else " ".join(map(str, values)).encode()

    parts = [VTK.format(kind="BINARY" if binary else "ASCII").encode()]
    parts += [b"SCALARS n int 1\nLOOKUP_TABLE default\n", block("i", six), b"\nVECTORS S float\n", block("f", flat)]
    parts += [b"\nMETADATA\nINFORMATION 0\n\nFIELD FieldData 2\nq 2 6 double\n", block("d", six + six)]
    parts += [b"\nt 1 1 float\n", block("f", [0.5]), b"\n"]
    (tmp_path / "m.vtk").write_bytes(b"".join(parts))
    found = read_arrays(tmp_path / "m.vtk", ["S", "n", "q", "t"])
    np.testing.assert_allclose(found["S"], GRID)
    assert found["n"].flatten().tolist() == six and found["n"].shape == (1, 2, 3)
    assert found["q"].shape == (1, 2, 3, 2) and found["q"].flatten().tolist() == six + six
    assert found["t"].tolist() == [0.5]


def test_data_sets_of_hdf5_go_by_their_path(tmp_path):
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["run/S"] = np.arange(6.0).astype(">f4")
        file["run/word"] = "not a number"
    assert read_arrays(tmp_path / "a.h5", ["run/S"])["run/S"].tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="has no array 'S'; it has run/S"):
        read_arrays(tmp_path / "a.h5", ["S"])


@pytest.mark.parametrize("suffix", ["ovf", "vtk", "h5"])
@pytest.mark.parametrize("binary", [True, False])
def test_spins_and_fields_come_back_from_a_card(suffix, binary, tmp_path, rng):
    lattice = square(5, 3)
    exact = ClassicalForceField(Heisenberg(lattice, J=(1.0, -0.4)))
    spins = random_spins(lattice, rng, 4)
    fields = exact(spins).force
    axes: list[str] = ["1", "0", "component"]
    for k, (S, H) in enumerate(zip(spins, fields, strict=True)):
        if suffix == "ovf":
            export_sites(tmp_path / f"S{k}.ovf", lattice, binary=binary, time=0.1 * k, S=S)
            export_sites(tmp_path / f"H{k}.ovf", lattice, binary=binary, H=H)
        elif suffix == "vtk":
            export_sites(tmp_path / f"{k}.vtk", lattice, binary=binary, S=S, H=H.float(), n=S[:, 2])
    if suffix == "h5":
        import h5py

        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["S"], file["H"] = spins, fields
        axes = ["snapshot", "site", "component"]
    files = {"S": "S*.ovf", "H": "H*.ovf"} if suffix == "ovf" else f"*.{suffix}"
    content = {"lattice": "square", "shape": [5, 3], "files": files, "spins": "S", "fields": "H", "axes": axes}
    write_yaml(tmp_path / "card.yaml", content)
    data = import_spins(tmp_path / "card.yaml", exact=exact)
    torch.testing.assert_close(data.field, spins, atol=1e-14, rtol=0)
    torch.testing.assert_close(data.force, fields, atol=1e-12 if suffix != "vtk" else 1e-6, rtol=0)


@pytest.mark.parametrize("lattice", [chain(4), cubic(2, 3, 4)], ids=repr)
def test_x_runs_fastest_in_files_of_grids(lattice, tmp_path):
    """Against positions: the first three numbers of the file are along x."""
    x = torch.from_numpy(lattice.positions)
    for path in (tmp_path / "x.ovf", tmp_path / "x.vtk"):
        export_sites(path, lattice, x=x)
        found = read_arrays(path, ["" if path.suffix == ".ovf" else "x"]).popitem()[1].numpy()
        z, y, w = np.meshgrid(*[np.arange(n) for n in (*lattice.shape, 1, 1)[2::-1]], indexing="ij")
        expected = np.stack([w, y, z], -1)[..., : lattice.dim]
        np.testing.assert_allclose(found.reshape(expected.shape), expected)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    "lattice", [triangular(3), honeycomb(2), PointCloud([[0.1, 0.2, 0.3], [1.0, 0.5, 0.2]], 2.0)], ids=repr
)
def test_sites_that_are_no_grid_become_points_of_vtk(lattice, binary, tmp_path):
    value = np.arange(3.0 * lattice.n_sites).reshape(-1, 3)
    path = export_sites(tmp_path / "a.vtk", lattice, binary=binary, v=value, n=value[:, 0])
    found = read_arrays(path, ["v", "n"])
    np.testing.assert_array_equal(found["v"], value)
    np.testing.assert_array_equal(found["n"], value[:, 0])
    if not binary:  # by the words of the format
        words = path.read_text().split()
        start = words.index("POINTS") + 3
        points = np.array(words[start : start + 3 * lattice.n_sites], float).reshape(-1, 3)
        np.testing.assert_array_equal(points[:, : lattice.dim], lattice.positions)


@pytest.mark.parametrize(
    "lattice", [square(3, periodic=(True, False)), PointCloud(np.eye(3), 2.0, species=["Fe", "Mn", "Fe"])], ids=repr
)
def test_ase_reads_extended_xyz(lattice, tmp_path, rng):
    io = pytest.importorskip("ase.io")
    spins = torch.randn(2, lattice.n_sites, 3, generator=rng, dtype=torch.float64)
    export_sites(tmp_path / "a.extxyz", lattice, time=1.5, spins=spins, density=spins[..., :1])
    frames = io.read(tmp_path / "a.extxyz", index=":")
    assert len(frames) == 2 and frames[0].info["time"] == 1.5
    for atoms, S in zip(frames, spins.numpy(), strict=True):
        np.testing.assert_array_equal(atoms.arrays["spins"], S)
        np.testing.assert_array_equal(atoms.arrays["density"], S[:, 0])
        np.testing.assert_allclose(atoms.positions[:, : lattice.dim], lattice.positions)
        np.testing.assert_allclose(
            atoms.cell[: lattice.dim, : lattice.dim], lattice.vectors * np.array(lattice.shape)[:, None]
        )
        assert tuple(atoms.pbc[: lattice.dim]) == lattice.periodic
    if "Mn" in lattice.species:
        assert frames[0].get_chemical_symbols() == ["Fe", "Mn", "Fe"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.ovf", b"hello", "no OVF file"),
        ("a.ovf", ovf(2, "Text", numbers=NUMBERS[:5]), "promises 18 numbers"),
        ("a.ovf", ovf(2, "Binary 8")[:-90], "promises 18 numbers"),
        ("a.ovf", ovf(1, "Binary 4").replace(b": rectangular mesh v1.0", b" OVF 2.0"), "the order of bytes"),
        ("a.ovf", ovf(2, "Text").replace(b"xnodes: 3", b"xnodes: x"), "gives no number"),
        ("a.ovf", ovf(2, "Text").replace(b": rectangular", b": irregular"), "irregular mesh"),
        ("a.ovf", ovf(2, "Text").replace(b"Data Text", b"Data Bits"), "Text, Binary 4 or Binary 8"),
        ("a.vtk", b"<?xml version='1.0'?>\n<VTKFile>\n\n", "write the legacy format"),
        ("a.vtk", VTK.format(kind="ASCII").encode() + b"VECTORS S float\n1 2 3\n", "ends after 3"),
        ("a.vtk", VTK.format(kind="BINARY").encode() + b"VECTORS S float\n123", "the file ends"),
        ("a.vtk", VTK.format(kind="ASCII").encode() + b"TENSORS S float\n1 2 3\n", "TENSORS"),
        ("a.h5", b"hello", "not a whole HDF5 file"),
    ],
)
def test_files_that_are_cut_or_something_else_are_refused(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises((CorruptFileError, ValueError), match=message):
        read_arrays(tmp_path / name, [""])


@pytest.mark.parametrize(
    ("name", "lattice", "arrays", "message"),
    [
        ("a.png", square(2), {"S": np.zeros((4, 3))}, "must end with one of .ovf"),
        ("a.ovf", square(2), {}, "Give the arrays by name"),
        ("a.ovf", triangular(2), {"S": np.zeros((4, 3))}, "a rectangular grid, not"),
        ("a.ovf", square(2), {"S": np.zeros((4, 3)), "H": np.zeros((4, 3))}, "one array, got S, H"),
        ("a.vtk", square(2), {"S": np.zeros((5, 4, 3))}, "one configuration"),
        ("a.vtk", square(2), {"S": np.zeros((3, 4))}, r"\(\*batch, 4, component\)"),
        ("a.vtk", square(2), {"S": np.full((4, 3), np.nan)}, "NaN"),
        ("a.vtk", square(2), {"S": np.zeros((4, 3), complex)}, "real numbers"),
        ("a.xyz", square(2), {"S": np.zeros((2, 4, 3)), "H": np.zeros((3, 4, 3))}, "batches of different sizes"),
    ],
)
def test_what_a_format_does_not_hold_is_refused(name, lattice, arrays, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_sites(tmp_path / name, lattice, **arrays)
    assert not (tmp_path / name).exists()


def test_several_structures_are_written_as_points(tmp_path):
    parts = Structures([PointCloud([[0.1, 0.2, 0.3]], 2.0), PointCloud([[0.5, 0.5, 0.5], [1.5, 1.0, 0.2]], 3.0)])
    found = read_arrays(export_sites(tmp_path / "a.vtk", parts, n=np.arange(3)), ["n"])
    assert found["n"].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="have no common cell"):
        export_sites(tmp_path / "a.xyz", parts, n=np.arange(3))
