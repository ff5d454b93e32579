"""`nearsight doctor locality`: from a finished run to data, figure, words and report."""

import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr
from typer.testing import CliRunner

from nearsight import plots
from nearsight.analysis import assess_size
from nearsight.cli.app import app
from nearsight.fields import tangent
from nearsight.storage import CorruptFileError
from nearsight.studies import Run, get, locality
from nearsight.studies.locality import examine, grown, open_target, stored

SHORT = ["fit.steps=4", "fit.validate_every=2"]


def doctor(*words):
    return CliRunner().invoke(app, ["doctor", *map(str, words)])


def trained(path, study, settings) -> Run:
    config = get(study).configure("tiny", settings)
    get(study).run(path, config, only="generate")
    return get(study).run(path, config, only="train")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two models of the same data with cutoffs 1 and 2."""
    folder = tmp_path_factory.mktemp("runs") / "holstein"
    return {
        name: trained(folder / name, "holstein", [*SHORT, f"network.radii={radii}"])
        for name, radii in (("near", "[1.0]"), ("far", "[1.0, 1.0]"))
    }


def test_the_doctor_examines_a_run_and_leaves_data_and_figure(runs):
    run = runs["far"]
    result = doctor("locality", run.path, runs["near"].path, "--samples", 8)
    assert result.exit_code == 0, result.output
    for word in ("cannot know", "cutoff", "far", "near", "response"):
        assert word in result.stdout
    assert (run.path / "figures" / "locality.png").read_bytes().startswith(b"\x89PNG")
    with xr.open_dataset(run.path / "locality.nc", engine="h5netcdf") as data:
        assert data["size"].sel(model=["near", "far"]).values == pytest.approx([1.0, 2.0])
        assert data.attrs["words"].split()[0] in result.stdout
        assert {"floor", "response", "share", "error"} <= set(data.variables)
    assert not list(run.path.glob(".locality*"))


def test_the_error_is_that_of_the_test_snapshots(runs):
    run = runs["near"]
    found = examine(run.path, samples=8)
    target = open_target(run.path)[1]
    error = target.learned(target.data.field.float()).force - target.exact(target.data.field).force
    assert float(found.data["error"][0]) == pytest.approx(float(error.square().mean().sqrt()), rel=1e-4)


def test_an_examination_can_be_repeated(runs):
    first, second = (examine(runs["near"].path, samples=8).data for _ in range(2))
    xr.testing.assert_identical(first, second)


def test_the_report_shows_the_locality_once_it_is_known(runs):
    from nearsight.studies import report

    run = runs["near"]
    study = dataclasses.replace(get("holstein"), figures={}, notes=lambda run, config: [])
    config = study.stored_config(run)
    (run.path / locality.FILE).unlink(missing_ok=True)
    report.build(study, run, config)
    assert "Locality." not in (run.path / "report.html").read_text()
    words = examine(run.path, samples=8).words
    report.build(study, run, config)
    page = (run.path / "report.html").read_text()
    assert 'id="locality"' in page and "Locality." in page
    assert words[:20] in page


def test_what_is_known_of_another_model_is_not_shown(runs):
    run = runs["near"]
    examine(run.path, samples=8)
    assert stored(run) is not None
    content = (weights := run.path / "model" / "weights.safetensors").read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert stored(run) is None
    weights.write_bytes(content)


def test_quenches_at_fixed_number_are_examined_too(tmp_path):
    run = trained(tmp_path / "jahn_teller" / "tiny", "jahn_teller", SHORT)
    found = examine(run.path, samples=8)
    assert list(found.data["source"].values) == ["exact", "tiny", "canonical"]
    assert found.data["error"].shape == (1,)


@pytest.fixture(scope="module")
def spins(tmp_path_factory) -> Run:
    """A student of torques on the smallest lattice of the study."""
    path = tmp_path_factory.mktemp("runs") / "skyrmion" / "tiny"
    return trained(
        path,
        "skyrmion",
        [*SHORT, "networks=[equivariant]", "trajectories.duration=8", "electron_kT=0.2", "solver_tol=1e-3"],
    )


def test_the_doctor_examines_torques_and_grows_models(spins):
    result = doctor("locality", spins.path, "--samples", 8, "--steps", 2)
    assert result.exit_code == 0, result.output
    assert "response of the exact torque" in " ".join(result.stdout.split())
    assert "error after equal training" in result.stdout and "fit " not in result.stdout
    found = stored(spins)
    assert found is not None
    np.testing.assert_allclose(found["probe_size"], [1, 2, 3, 4, 6])
    target = open_target(spins.path)[1]
    field, H = target.data.field, target.learned(target.data.field.float()).force.double()
    error = tangent(H - target.data.force, field).square().mean().sqrt()
    assert float(found["error"][0]) == pytest.approx(float(error), rel=1e-4)
    assert float(found["rms"]) == pytest.approx(float(tangent(target.data.force, field).square().mean().sqrt()))


def test_torques_at_fixed_number_are_examined_at_the_mean_chemical_potential(tmp_path):
    settings = [*SHORT, "networks=[equivariant]", "trajectories.duration=8"]
    run = trained(tmp_path / "double_exchange" / "tiny", "double_exchange", settings)
    target = open_target(run.path)[1]
    field = target.data.field
    assert target.canonical is not None
    torch.testing.assert_close(
        tangent(target.canonical(field).force, field), tangent(target.force, field), atol=1e-9, rtol=0
    )
    away = tangent(target.exact(field).force - target.force, field)
    assert float(away.abs().max()) > 1e-3  # one chemical potential does not serve all textures
    found = examine(run.path, samples=8, steps=0)
    assert list(found.data["source"].values) == ["exact", "tiny", "canonical"]


def test_models_are_grown_once_and_each_from_the_same_start(spins):
    target = open_target(spins.path)[1]
    first = grown(spins, target, 2, print)
    began = {path: path.stat().st_mtime_ns for path in (spins.path / "locality").rglob("*.safetensors")}
    assert len(began) == len(first) == 5
    second = grown(spins, target, 2, print)
    assert all(path.stat().st_mtime_ns == time for path, time in began.items())
    for name, student in first.items():
        field = target.data.field[:1].float()
        torch.testing.assert_close(student(field).force, second[name](field).force, atol=0, rtol=0)
    assert grown(spins, target, 0, print) == {}


def test_the_doctor_examines_hops_though_the_test_has_one_trajectory(tmp_path):
    settings = [*SHORT, "trajectories.duration=2", "trajectories.snapshots=2"]
    run = trained(tmp_path / "falicov_kimball" / "tiny", "falicov_kimball", settings)
    assert len(np.unique(open_target(run.path)[1].data.trajectory)) == 1
    found = examine(run.path, samples=8, steps=2).data
    assert float(found["size"][0]) == 4.0  # twice the radius of the network
    np.testing.assert_allclose(found["probe_size"], [0, 2, 2 * np.sqrt(2), 4])
    assert float(found["floor"][0]) > 0
    assert "energy of a hop" in found.attrs["quantity"]


def test_steps_for_a_study_that_grows_nothing_are_refused(runs):
    with pytest.raises(ValueError, match="grows no models"):
        examine(runs["near"].path, samples=8, steps=5)


def test_mistakes_are_answered_in_words(runs, tmp_path):
    result = doctor("locality", tmp_path)
    assert result.exit_code == 2 and "is no run" in result.stderr
    config = get("holstein").configure("tiny", SHORT)
    untrained = get("holstein").run(tmp_path / "holstein" / "untrained", config, only="generate")
    result = doctor("locality", untrained.path)
    assert result.exit_code == 2 and "no trained model" in result.stderr and "--resume" in result.stderr
    other = trained(tmp_path / "holstein" / "other", "holstein", [*SHORT, "seed=2"])
    result = doctor("locality", runs["near"].path, other.path)
    assert result.exit_code == 2 and "other data" in result.stderr
    (untrained.path / locality.FILE).write_bytes(b"no netCDF")
    with pytest.raises(CorruptFileError, match="examine again"):
        stored(untrained)
    assert "Traceback" not in result.output


def test_a_study_that_learns_no_force_says_so(runs, monkeypatch):
    monkeypatch.setattr(locality, "get", lambda name: get("learn_spin_glass"))
    with pytest.raises(ValueError, match="'learn_spin_glass' learns no force"):
        open_target(runs["near"].path)


def test_the_doctor_alone_still_looks_at_the_machine():
    result = doctor()
    assert result.exit_code == 0 and "torch" in result.output and "cores" in result.output


def test_errors_of_block_models_can_be_drawn_alone():
    judged = assess_size([], {"l = 2": (2.0, 0.1), "l = 4": (4.0, 0.05)}, name="block size", unit="sites")
    picture = plots.locality(judged.data)
    (axes,) = picture.axes
    assert axes.get_xlabel() == "block size [sites]" and len(axes.get_lines()) == 2
    assert len(picture.png()) > 2_000
