"""Models that travel: with a card, refused where damaged, warned about where they do not hold, and quenched at once."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import nearsight as ns
from nearsight import forcefields
from nearsight.cli.app import app
from nearsight.dynamics import OutOfRangeError
from nearsight.forcefields import Card, ExtrapolationWarning, OnComponents, load, save
from nearsight.storage import CorruptFileError
from nearsight.studies import Run, get
from nearsight.studies.shipping import ship
from nearsight.training import DataSet
from study_runs import finished_run

pytestmark = pytest.mark.xdist_group("holstein")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return finished_run("holstein", tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def shipped(finished, tmp_path_factory):
    return ship(finished, tmp_path_factory.mktemp("models"))


def invoke(*words):
    return CliRunner().invoke(app, list(map(str, words)))


def exact(g=1.5, kT=0.1, **springs):
    model = ns.hamiltonians.Holstein(ns.lattices.square(8), g=g, **{"k": 1.005, "kappa": 0.18} | springs)
    return ns.ExactForceField(model, ns.solvers.Dense(mu=0.0, kT=kT))


# --- cards ------------------------------------------------------------------------------------------------------------


def test_a_card_is_what_it_was_after_a_journey_through_plain_data(tmp_path):
    card = Card(exact=exact(), low=[-2.0], high=[2.5], errors=[{"name": "rms", "value": 0.01}], data={"hash": "1a"})
    network = ns.networks.GroupCNN(ns.lattices.square(6), ns.fields.scalar(), channels=2)
    save(ns.LearnedForceField(network), tmp_path / "model", card=card)
    again = load(tmp_path / "model").card
    assert again.config() == card.config()
    field = torch.randn(64, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(again.exact(field).force, card.exact(field).force, atol=0, rtol=0)


def test_a_card_goes_where_its_force_field_goes(tmp_path):
    card = Card(exact=exact())
    network = ns.networks.GroupCNN(ns.lattices.square(6), ns.fields.scalar(), channels=2)
    save(ns.LearnedForceField(network), tmp_path / "model", card=card)
    learned = load(tmp_path / "model")
    springs = exact().classical
    for one in (learned, learned.on(ns.lattices.square(8)), (learned.on(ns.lattices.square(8)) + springs)):
        assert one.card is learned.card
    assert (learned.on(ns.lattices.square(8)) + springs).on(ns.lattices.square(12)).card is learned.card
    assert springs.card is None
    save(
        OnComponents(learned, [0]) + OnComponents(learned, [0]), tmp_path / "sum", card=replace(card, low=[0], high=[1])
    )
    total = load(tmp_path / "sum").on(ns.lattices.square(8)) + springs
    assert total.card.high == (1.0,)


def test_parameters_are_those_of_the_hamiltonian_and_of_the_ensemble():
    card = Card(exact=exact(g=1.4))
    model = {"t": 1.0, "g": 1.4, "k": 1.005, "kappa": 0.18, "spins": 1, "symmetric": True}
    assert card.parameters == model | {"mu": 0.0, "kT": 0.1}


def test_other_electrons_are_told_with_their_numbers():
    card = Card(exact=exact())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        card.check(exact())
        card.check(exact().on(ns.lattices.square(50)))
    with pytest.warns(ExtrapolationWarning, match=r"g = 1\.7 \(trained at 1\.5\), kT = 0\.2 \(trained at 0\.1\)"):
        card.check(exact(g=1.7, kT=0.2))
    fixed = exact().replaced(solver=ns.solvers.Dense(filling=0.5, kT=0.1))
    assert card.differences(fixed) == {"mu": (0.0, None), "filling": (None, 0.5)}
    magnet = ns.ExactForceField(ns.hamiltonians.SDModel(ns.lattices.square(4)), ns.solvers.Dense(mu=0, kT=0.1))
    with pytest.raises(ValueError, match="the electrons of Holstein, not those of SDModel"):
        card.check(magnet)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"exact": 3}, "exact must be"),
        ({"exact": exact(), "low": [1.0], "high": [1.0]}, "low < high"),
        ({"exact": exact(), "low": [1.0]}, "low < high"),
    ],
)
def test_bad_cards_are_refused(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Card(**arguments)


def test_a_card_of_another_version_is_refused_by_what_it_does_not_know():
    with pytest.raises(ValueError, match="has no colour"):
        Card.from_config(Card(exact=exact()).config() | {"colour": "blue"})


# --- models of runs ---------------------------------------------------------------------------------------------------


def test_a_trained_model_knows_what_it_learned(finished):
    card, data = load(finished.path / "model").card, DataSet.open(finished.path / "data.zarr")
    config = finished.config
    train = data.split(validation=config["fit"]["validation"], test=config["fit"]["test"], seed=config["seed"]).train
    assert card.exact.config() == finished.system().exact.config()
    assert (card.low[0], card.high[0]) == train.field_range and card.data["hash"] == train.hash
    assert card.origin["study"] == "holstein" and card.origin["seed"] == 1
    assert card.units == {"energy": "t", "length": "a", "time": "1/t"}


def test_a_shipped_model_brings_its_errors_and_its_audit(finished, shipped):
    learned = load(shipped)
    told = {check["name"]: check["value"] for check in learned.card.errors}
    found = {name: value for name, value in told.items() if "intervals" not in name}
    measured = {check.name: check.value for check in finished.checks}
    assert len(found) > 5 and all(measured[name] == value for name, value in found.items())
    audit = finished.observable("audit").isel(quench=0)
    np.testing.assert_array_equal(learned.card.audit["rms"], audit.rms.values)
    field = torch.randn(36, 1, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(learned(field).force, load(finished.path / "model")(field).force, atol=0, rtol=0)
    page = str(learned.card)
    assert "g = 1.5" in page and "audit at t" in page and "density error" in page


def test_the_intervals_of_a_shipped_model_are_those_of_its_validation_trajectories(finished, shipped):
    learned, data, fit = load(shipped), DataSet.open(finished.path / "data.zarr"), finished.config["fit"]
    part = data.split(validation=fit["validation"], test=fit["test"], seed=1).validation
    exact = finished.system().electron_force(part.field, part.force)
    for level in learned.levels:
        found = learned.estimate(part.field, level)
        inside = float(((exact - found.force).abs() <= found.width).double().mean())
        assert abs(inside - level) < 2 / exact.numel() + 1e-3


def test_a_run_that_has_not_finished_is_not_shipped(finished, tmp_path):
    study = get("holstein")
    run = study.run(tmp_path / "run", study.stored_config(finished), only="generate", data=finished.path)
    with pytest.raises(ValueError, match=r"has not finished train, validate, simulate.*--resume"):
        ship(run, tmp_path)
    assert invoke("ship", tmp_path).exit_code == 2


def test_a_model_from_elsewhere_quenches_as_the_run_that_trained_it(finished, shipped, tmp_path, blank_figures):
    told = invoke("simulate", "holstein", "--model", shipped, "--runs", tmp_path, "--debug")
    assert told.exit_code == 0, told.output
    run = Run(tmp_path / "holstein" / "pretrained")
    for name in ("growth", "maps", "audit"):
        known = finished.observable(name)
        assert run.observable(name)[list(known)].equals(known)
    assert any("within their 68% intervals" in check.name for check in run.checks)
    page = (run.path / "report.html").read_text()
    assert "was not trained in this run" in page and "figures" not in run.stages
    assert run.stages["train"]["from"]["study"] == "holstein" and not (run.path / "data.zarr").exists()
    again = invoke("simulate", "holstein", "--runs", tmp_path, "--name", "pretrained", "--resume", "--debug")
    assert again.exit_code == 0 and "simulate is complete" in again.output


def test_other_parameters_are_warned_about_and_told_in_the_report(shipped, tmp_path, blank_figures):
    study = get("holstein")
    config = study.configure(settings=["model.g=1.6", "large.duration=1"], model=shipped)
    with pytest.warns(ExtrapolationWarning, match=r"g = 1\.6 \(trained at 1\.5\)"):
        run = study.run(tmp_path / "run", config, only="simulate", model=shipped)
    assert "g = 1.6, trained at 1.5" in (run.path / "report.html").read_text()


def test_an_audit_with_other_electrons_is_told(shipped):
    learned = load(shipped).on(ns.lattices.square(8)) + exact().classical
    field = torch.zeros(64, 1)
    rng = torch.Generator().manual_seed(1)
    scheme = ns.dynamics.Langevin(dt=0.05, kT=0.1, damping=0.2)

    def audited(partner) -> None:
        ns.dynamics.simulate(learned, scheme, field, steps=1, record=None, rng=rng, audit=ns.Audit(partner, sites=4))

    audited(exact())
    with pytest.warns(ExtrapolationWarning, match=r"g = 1\.7 \(trained at 1\.5\)"):
        audited(exact(g=1.7))
    other = ns.hamiltonians.FalicovKimball(ns.lattices.square(8))
    with pytest.raises(ValueError, match="electrons of Holstein, not those of"):
        audited(ns.ExactForceField(other, ns.solvers.Dense(mu=0.0, kT=0.1)))


def test_the_guard_of_a_model_from_elsewhere_is_its_card(shipped, tmp_path):
    study = get("holstein")
    narrow = load(shipped)
    save(narrow, tmp_path / "model", card=replace(narrow.card, low=[-0.01], high=[0.01]))
    config = study.configure(model=tmp_path / "model")
    with pytest.raises(OutOfRangeError, match="outside of"):
        study.run(tmp_path / "run", config, only="simulate", model=tmp_path / "model")


def test_models_of_other_studies_or_without_a_card_are_refused(shipped, tmp_path, monkeypatch):
    jahn_teller = get("jahn_teller")
    with pytest.raises(ValueError, match="is one of the study 'holstein'"):
        jahn_teller.configure(model=shipped)
    bare = load(shipped)
    bare._card = None
    save(bare, tmp_path / "bare")
    with pytest.raises(ValueError, match=r"has no card.*nearsight ship"):
        get("holstein").configure(model=tmp_path / "bare")
    for name in ("learn_ising", "double_exchange"):  # the large run of the latter is judged by its small ones
        with pytest.raises(ValueError, match="takes no model"):
            get(name).of_model()
    monkeypatch.setattr(forcefields.shipped, "SHIPPED", tmp_path / "none")
    with pytest.raises(ValueError, match="No model of the study 'falicov_kimball' comes with the library"):
        get("falicov_kimball").configure(model="pretrained")


# --- models of the library --------------------------------------------------------------------------------------------


@pytest.fixture
def library(shipped, tmp_path, monkeypatch):
    """A library with the model of the tiny run."""
    from nearsight.forcefields import shipped as module

    save(load(shipped), tmp_path / "models" / "holstein")
    monkeypatch.setattr(module, "SHIPPED", tmp_path / "models")
    return tmp_path / "models"


def test_pretrained_lists_what_there_is(library):
    assert ns.pretrained() == ["holstein"]


def test_a_pretrained_force_field_is_the_learned_part_and_the_classical_one(library):
    total, part = ns.pretrained("holstein"), ns.pretrained("holstein", classical=False)
    field = torch.randn(3, 36, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = part(field).force + total.card.exact.classical(field).force
    torch.testing.assert_close(total(field).force, expected, atol=0, rtol=0)
    assert ns.Audit(total.card.exact).exact is total.card.exact


def test_a_pretrained_force_field_takes_the_springs_that_are_meant(library):
    mine = exact(kappa=0.3).on(ns.lattices.square(12))
    with pytest.warns(ExtrapolationWarning, match=r"kappa = 0\.3 \(trained at 0\.18\)"):
        total = ns.pretrained("holstein", mine)
    field = torch.randn(144, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    part = ns.pretrained("holstein", classical=False).on(mine.lattice)
    torch.testing.assert_close(total(field).force, part(field).force + mine.classical(field).force, atol=0, rtol=0)


def test_an_unknown_name_suggests_the_nearest(library):
    with pytest.raises(ValueError, match="holstein"):
        ns.pretrained("holstien")


@pytest.mark.parametrize("name", ["model.yaml", "weights.safetensors"])
def test_a_damaged_file_of_the_library_is_refused(library, name):
    file = library / "holstein" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(CorruptFileError, match=f"install nearsight again.*{name}"):
        ns.pretrained("holstein")
