"""Gaps by Quantum ESPRESSO, where it is installed, and what is said where it is not."""

import shutil
from pathlib import Path

import pytest
import torch

from nearsight.crystals import EspressoGap, evaluate, silicon

PSEUDO = "/usr/share/espresso/pseudo"
pytest.importorskip("ase")
installed = pytest.mark.skipif(
    shutil.which("pw.x") is None or not Path(PSEUDO, "Si.pz-vbc.UPF").is_file(), reason="Quantum ESPRESSO is missing"
)


def made(tmp_path=None, **options) -> EspressoGap:
    settings = {"cutoff": 8.0, "k_points": (2, 2, 2), **options}
    return EspressoGap(silicon(1), {"Si": "Si.pz-vbc.UPF"}, str(tmp_path or PSEUDO), **settings)


@installed
@pytest.mark.slow
def test_a_cell_with_k_points_and_the_supercell_they_fold_into_agree(rng):
    gap = made()
    large = EspressoGap(silicon(2), {"Si": "Si.pz-vbc.UPF"}, PSEUDO, cutoff=8.0)
    assert (gap.occupied, large.occupied) == (4, 32)
    assert large.perfect == pytest.approx(gap.perfect, abs=1e-3)
    u = 0.02 * torch.randn(2, 2, 3, generator=rng, dtype=torch.float64)
    found = evaluate(gap, torch.cat([u, u[:1] + 0.1]), workers=0, progress=False).value - gap.perfect
    assert found[0] == pytest.approx(found[2], abs=2e-4)  # energies are printed with four digits
    assert abs(found[0]) > 1e-3
    repeated = u[0].repeat(8, 1)
    assert float(large.shift(repeated)) == pytest.approx(found[0], abs=1e-3)


@installed
@pytest.mark.slow
def test_a_run_that_fails_says_what_it_wrote():
    with pytest.raises(RuntimeError, match="failed"):
        close = torch.zeros(2, 3, dtype=torch.float64)
        close[1] = -torch.tensor(silicon(1).positions[1])  # both atoms on one place
        made(cutoff=8.0).energies(close)


def test_what_is_missing_is_named_with_its_cure(tmp_path):
    with pytest.raises(FileNotFoundError, match="apt-get install quantum-espresso"):
        made(command="no-such-pw.x").energies(torch.zeros(2, 3, dtype=torch.float64))
    with pytest.raises(FileNotFoundError, match=r"no pseudopotential .*Si\.pz-vbc\.UPF"):
        _ = made(tmp_path).occupied
    (tmp_path / "Si.pz-vbc.UPF").write_text("nothing")
    with pytest.raises(ValueError, match="does not tell its valence"):
        _ = made(tmp_path).occupied
    (tmp_path / "Si.pz-vbc.UPF").write_text('<PP_HEADER z_valence="4.00" />')
    assert made(tmp_path).occupied == 4
    (tmp_path / "Si.pz-vbc.UPF").write_text('<PP_HEADER z_valence="   3.5E+00" />')
    with pytest.raises(ValueError, match="odd number"):
        _ = made(tmp_path).occupied
    with pytest.raises(ValueError, match="a file for Si"):
        EspressoGap(silicon(1), {"C": "C.UPF"}, PSEUDO)


def test_what_decides_the_numbers_is_in_the_description():
    told = made().config()
    assert told["cutoff"] == 8.0 and told["pseudopotentials"] == {"Si": "Si.pz-vbc.UPF"}
    assert "command" not in told and "pseudo_dir" not in told
