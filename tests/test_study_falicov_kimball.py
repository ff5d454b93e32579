"""The Falicov-Kimball study end to end on a lattice too small for physics: what must hold on any lattice."""

import shutil

import numpy as np
import pytest
import torch
import yaml

from nearsight import analysis
from nearsight.dynamics import Trajectory
from nearsight.lattices import honeycomb, square
from nearsight.moves import Hops
from nearsight.reproductions import MoveCentred
from nearsight.studies import Run, get, moving
from nearsight.studies.fits import fits
from nearsight.studies.systems import falicov_kimball
from nearsight.training import MoveData
from study_runs import StudyContract, finished_run

pytestmark = pytest.mark.xdist_group("falicov_kimball")

STUDY = get("falicov_kimball")
TINY = STUDY.configure("tiny")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    return finished_run("falicov_kimball", tmp_path_factory.mktemp("runs"))


class TestRun(StudyContract):
    observables = ("snapshots", "curves", "growth", "maps", "barrier", "potential")
    checks = 37
    moves = True


def test_no_quench_loses_an_f_electron(finished):
    for path in sorted((finished.path / "comparison").glob("*/*")):
        field = Trajectory.open(path).data.field.values
        assert np.ptp(field.sum((-2, -1))) == 0
    for path in sorted((finished.path / "large").iterdir()):
        assert float(Trajectory.open(path).final.field.sum()) == round(TINY.f_density * TINY.large.length**2)
    n = finished.observable("maps").n.sum(("x", "y"))
    np.testing.assert_array_equal(n, round(TINY.f_density * TINY.large.length**2))


def test_all_ensembles_start_from_the_same_positions_and_part(finished):
    def fields(name: str) -> np.ndarray:
        parts = [Trajectory.open(p).data.field.values for p in sorted((finished.path / "comparison" / name).iterdir())]
        return np.concatenate(parts, axis=1)

    exact, learned, screened = fields("exact"), fields("learned"), fields("screened")
    np.testing.assert_array_equal(exact[0], learned[0])
    np.testing.assert_array_equal(exact[0, : screened.shape[1]], screened[0])
    assert (exact[-1] != learned[-1]).any()


def test_labels_are_exact_free_energies(finished):
    data = MoveData.open(finished.path / "data.zarr")
    energies = STUDY.system(TINY).exact
    torch.testing.assert_close(torch.from_numpy(data.difference[5]), energies.differences(data.field[5]))


def test_what_is_learned_is_judged_on_quenches_it_has_not_seen(finished):
    parts = moving.split(finished, TINY)
    seen = [set(part.trajectory.tolist()) for part in parts]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
    data = finished.observable("snapshots")
    truth = parts.test.difference[np.isfinite(parts.test.difference)]
    np.testing.assert_array_equal(data.exact.values, truth)
    again = STUDY.electrons(finished, TINY, square(TINY.length)).differences(parts.test.field[:1])[0]
    again = again[torch.isfinite(again)]
    np.testing.assert_allclose(data.learned.values[: len(again)], again.numpy(), atol=1e-6)


@pytest.mark.parametrize("lattice", [square(5), square(4, 6), honeycomb(3)], ids=repr)
def test_moved_hops_are_the_hops_of_the_moved_field(lattice):
    """A hop, moved by a translation and by a shuffle that keeps neighbours, does to the moved field what it did."""
    hops = Hops(lattice)
    rng = torch.Generator().manual_seed(3)
    field = (torch.rand(lattice.n_sites, 1, generator=rng) < 0.4).double()
    shifted = lattice.index(lattice.cells + np.eye(lattice.dim, dtype=int)[0], lattice.sublattice)
    number = hops.carried(shifted)
    for move in torch.nonzero(hops.possible(field))[:, 0]:
        there = hops.apply(field[shifted], torch.tensor(number[move]))
        torch.testing.assert_close(there, hops.apply(field, move)[shifted])


def test_a_broken_symmetry_is_seen(finished):
    """Energies that favour one direction fail the examination that learned ones pass."""

    class Tilted:
        def __init__(self, energies):
            self.energies, self.hops, self.lattice = energies, energies.hops, energies.lattice

        def differences(self, field):
            tilt = torch.arange(len(self.hops)) % self.hops.directions == 0
            return self.energies.differences(field) + 0.1 * tilt

    learned = STUDY.electrons(finished, TINY, square(TINY.length))
    field = moving.split(finished, TINY).test.field[:2]
    assert max(moving.symmetry_error(learned, field)) < moving.SYMMETRY
    assert max(moving.symmetry_error(Tilted(learned), field)) > 0.1
    rng = torch.Generator().manual_seed(0)
    assert moving.loop_error(learned, field, rng) < moving.SYMMETRY
    odd = MoveCentred(learned.hops, cutoff=2.0)
    assert moving.loop_error(odd, field, rng) > moving.SYMMETRY


def test_magnetisations_come_equally_often():
    signs = analysis.spread_polarity(16, 9, rng=torch.Generator().manual_seed(0))
    values, counts = np.unique(np.abs(signs.sum(1)), return_counts=True)
    assert values.tolist() == [1, 3, 5, 7] and counts.tolist() == [4, 4, 4, 4]
    with pytest.raises(ValueError, match="blocks=4"):
        analysis.spread_polarity(16, 4, rng=torch.Generator())


def test_tables_of_others_are_drawn(finished, tmp_path):
    copy = Run(shutil.copytree(finished.path, tmp_path / "copy"))
    folder = copy.path / "published"
    folder.mkdir()
    (folder / "lengths.csv").write_text("t,L\n1,0.8\n10,1.5\n")
    (folder / "lengths.yaml").write_text(yaml.safe_dump({"quantity": "length", "source": "somebody (2020)"}))
    assert "somebody (2020)" in falicov_kimball.growth(copy, TINY).caption
    assert "somebody" not in falicov_kimball.growth(finished, TINY).caption


def test_fits_are_drawn_as_they_were_recorded(finished):
    observed = finished.observable("growth")
    law = fits(observed)["L"]
    again = analysis.growth_exponent(
        observed.L.transpose("replica", "time"), rng=finished.rng("bootstrap"), window=law.window
    )
    assert law == again
    (dashed,) = [line for line in falicov_kimball.growth(finished, TINY).axes[3].lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(dashed.get_ydata(), law(dashed.get_xdata()))
    curve = fits(finished.observable("barrier"))["by_order"]
    slope = next(check for check in finished.checks if check.name.endswith("slope against |φ|"))
    assert (slope.value, slope.error) == (curve.slope, curve.slope_sigma)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("f_density=0.01", "fewer than two f electrons"),
        ("f_density=1.2", "f_density"),
        ("kT=-1", "kT"),
        ("model.U=0", "model.U"),
        ("large.growth_from=500", "growth_from"),
        ("network.radius=-1", "network.radius"),
    ],
)
def test_settings_without_sense_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        STUDY.configure("tiny", [setting])
