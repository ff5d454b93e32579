"""Learning where a force field fails: masks, windows, labels, choices, kills, and the error that is left."""

import contextlib
import json

import numpy as np
import pytest
import torch

import nearsight as ns
from nearsight.dynamics import At, Langevin, simulate
from nearsight.forcefields import FixedNumber, LearnedForceField, UncertainForceField
from nearsight.storage import CorruptFileError, file_hash, read_json, tree_hash
from nearsight.training import DataSet, FitOptions, RefineOptions, Split, evaluate, fit, refine
from nearsight.training import _refine_round as rounds
from nearsight.training._site_choice import environments, guessed_errors, spread_out
from nearsight.training._snapshots import generator
from nearsight.training._windows import CORE, Windows, halo
from nearsight.training.fit import _Forces

SMALL, LARGE = ns.lattices.square(6), ns.lattices.square(24)
EXACT = ns.ExactForceField(ns.hamiltonians.Holstein(SMALL), ns.solvers.Dense(mu=0.0, kT=0.3))
SCHEME = Langevin(dt=0.2, mass=1.0, damping=0.3, kT=0.1)
FIT = FitOptions(steps=80, warmup=10, learning_rate=0.01, validate_every=20, checkpoint_every=10)
OPTIONS = RefineOptions(rounds=2, steps=6, times=2, sites=40, audited=12, fit=FIT, seed=3)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def network(lattice=SMALL, head="force", seed=4, **options):
    shape = {"channels": 2, "radii": (1.1, 1.0), "head": head} | options
    return LearnedForceField(ns.networks.GroupCNN(lattice, ns.fields.scalar(), **shape, rng=rng(seed)))


def small_fields(count=10):
    """Fields that are too small by far, and the exact forces on them."""
    field = 0.1 * torch.randn(count, SMALL.n_sites, 1, generator=rng(1), dtype=torch.float64)
    return DataSet.from_arrays(lattice=SMALL, field=field, force=EXACT(field).force)


def start(rng):
    return 0.8 * torch.randn(LARGE.n_sites, 1, generator=rng, dtype=torch.float64)


@pytest.fixture(scope="module")
def poor():
    """Weights that have seen small fields alone."""
    data, learned = small_fields(), network()
    fit(learned + EXACT.classical, data, options=FIT, progress=False)
    return data, {name: value.clone() for name, value in learned.state_dict().items()}


def again(poor):
    learned = network()
    learned.load_state_dict(poor[1])
    return learned


def refined(poor, path, learned=None, **changes):
    model = (learned or again(poor)) + EXACT.classical
    arguments = {"scheme": SCHEME, "field": start, "lattice": LARGE, "options": OPTIONS, "progress": False} | changes
    return refine(model, EXACT, poor[0], path=path, **arguments)


@pytest.fixture(scope="module")
def found(poor, tmp_path_factory):
    return refined(poor, tmp_path_factory.mktemp("refined") / "run")


# --- forces on some sites ---------------------------------------------------------------------------------------------


def masked(seed, **arrays):
    """Half of the forces are known; the others are numbers from ``seed``."""
    data = small_fields(6)
    weight = (torch.arange(36) % 2).double().expand(6, 36)
    nonsense = 10.0 * torch.randn(data.force.shape, generator=rng(seed), dtype=torch.float64)
    force = torch.where(weight.unsqueeze(-1) > 0, data.force, nonsense)
    return DataSet.from_arrays(lattice=SMALL, field=data.field, force=force, weight=weight, **arrays)


@pytest.mark.parametrize(
    "options", [{}, {"force_loss": "relative"}, {"augment": True}, {"energy_weight": 0.5}], ids=str
)
def test_what_stands_on_sites_without_forces_enters_nowhere(options):
    """Loss, gradient, scale and validation to the last bit, whatever the labels of sites of weight 0 are."""
    results = []
    for seed in (1, 2):
        learned = network(head="energy" if "energy_weight" in options else "force").double()
        energy = EXACT(small_fields(6).field).energy if "energy_weight" in options else None
        data = masked(seed, energy=energy)
        split = Split(data.take(np.arange(4)), data.take(np.arange(4, 6)), None)
        task = _Forces(learned + EXACT.classical, split, FIT.model_copy(update={"dtype": "float64", **options}))
        task.loss(task.model.train(), task.batch(3))["loss"].backward()
        gradient = torch.cat([p.grad.flatten() for p in learned.parameters()])
        results.append((gradient, task.validate(task.model), task.terms.force_scale))
    assert torch.equal(results[0][0], results[1][0]) and results[0][1:] == results[1][1:]
    assert float(results[0][0].abs().max()) > 0


def test_the_loss_is_the_mean_over_the_sites_whose_forces_are_known():
    learned, data = network().double(), masked(1)
    split = Split(data, data, None)
    task = _Forces(learned, split, FIT.model_copy(update={"dtype": "float64", "batch_size": 6, "energy_weight": 0.0}))
    with torch.no_grad():
        error = (learned.eval()(data.field).force - data.force)[:, 1::2]
    known = data.force[:, 1::2]
    by_hand = float(error.square().mean() / known.square().mean())
    assert float(task.loss(task.model, task.batch(0))["loss"]) == pytest.approx(by_hand, rel=1e-12)
    assert task.validate(task.model) == pytest.approx(float(error.square().mean().sqrt()), rel=1e-12)
    assert evaluate(learned, data)["force"]["rmse"] == pytest.approx(task.validate(task.model), rel=1e-12)


def test_weights_go_to_disk_and_through_every_selection(tmp_path):
    data = masked(1)
    stored = DataSet.from_arrays(tmp_path / "data.zarr", lattice=SMALL, field=data.field, force=data.force,
                                 weight=data.weight.reshape(6, 6, 6))  # fmt: skip
    assert torch.equal(DataSet.open(tmp_path / "data.zarr").take(np.array([4, 1])).weight, data.weight[[4, 1]])
    assert stored.hash == data.hash != small_fields(6).hash and "forces of 108 sites" in repr(stored)
    assert small_fields(6).weight is None
    arrays = {"lattice": SMALL, "field": data.field, "force": data.force}
    wrong = {"not negative": -data.weight, "3 snapshots": data.weight[:3], "no site": 0 * data.weight}
    for words, weight in wrong.items():
        with pytest.raises(ValueError, match=words):
            DataSet.from_arrays(weight=weight, **arrays)


# --- windows ----------------------------------------------------------------------------------------------------------


def spin_network():
    lattice = ns.lattices.triangular(4)
    return LearnedForceField(ns.networks.SpinCNN(lattice, ns.fields.spin(), channels=2, radii=(1.1, 1.1), rng=rng(1)))


def invariants():
    descriptor = ns.descriptors.Irreps(SMALL, ns.fields.scalar(), cutoff=1.5)
    return LearnedForceField(descriptor, ns.networks.MLP((4,), rng=rng(1)))


MAKERS = {
    "force": network, "energy": lambda: network(head="energy"), "irreps": invariants, "spins": spin_network,
}  # fmt: skip


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("length", [30, 12])
def test_learned_forces_in_the_core_of_a_window_are_those_of_the_large_lattice(make, length):
    """The seam is out of sight, and a lattice no larger than a window is taken whole."""
    learned = make().double().eval()
    lattice = ns.lattices.triangular(length) if learned.components == 3 else ns.lattices.square(length)
    field = torch.randn(2, lattice.n_sites, learned.components, generator=rng(2), dtype=torch.float64)
    field = torch.nn.functional.normalize(field, dim=-1) if learned.components == 3 else field
    with torch.no_grad():
        force = learned.on(lattice)(field).force
        sites = torch.randperm(lattice.n_sites, generator=rng(3))[:20]
        replicas = torch.arange(20) % 2
        for more in (None, force):
            cut = Windows(lattice, max(halo(learned))).cut(field, sites, replicas, force[replicas, sites], more)
            error = (learned.on(cut.lattice)(cut.field).force - cut.force)[cut.weight > 0]
            assert float(error.abs().max()) < 1e-12
            many = int(cut.weight.sum())
            assert many == 20 if more is None else many > 20


def test_sites_near_each_other_share_a_window():
    field = torch.zeros(1, 900, 1, dtype=torch.float64)
    sites = torch.tensor([0, 1, 30 * CORE, 450])
    cut = Windows(ns.lattices.square(30), 2).cut(field, sites, torch.zeros(4).long(), torch.ones(4, 1).double())
    assert cut.weight.sum(1).tolist() == [3, 1]


# --- which sites ------------------------------------------------------------------------------------------------------


def test_chosen_sites_are_different_and_farther_apart_than_random_ones():
    points = torch.randn(2000, 4, generator=rng(1), dtype=torch.float64)
    known = points[:50]
    chosen = spread_out(torch.ones(2000, dtype=torch.float64), points, known, 60)
    assert len(set(chosen.tolist())) == 60 and not set(chosen.tolist()) & set(range(50))

    def nearest(places):
        distance = torch.cdist(points[places], torch.cat([points[places], known]))
        return float((distance + 99.0 * torch.eye(60, 110)).min())

    random = [nearest(torch.randperm(2000, generator=rng(seed))[:60]) for seed in range(20)]
    assert nearest(chosen) > 3 * max(random)


def test_doubt_outweighs_novelty_by_its_size():
    points = torch.tensor([[0.0], [1.0], [2.0], [10.0]]).double()
    assert spread_out(torch.tensor([1.0, 0.0, 30.0, 5.0]).double(), points, points[:1], 2).tolist() == [2, 3]
    assert spread_out(torch.zeros(4).double(), points, points[:0], 4).sort().values.tolist() == [0, 1, 2, 3]


def test_environments_are_those_of_the_rotated_lattice_and_of_rotated_spins():
    lattice = ns.lattices.square(6)
    spins = torch.nn.functional.normalize(torch.randn(36, 3, generator=rng(1), dtype=torch.float64), dim=-1)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=rng(2), dtype=torch.float64)).Q
    here = environments(lattice, spins)
    torch.testing.assert_close(environments(lattice, spins @ turn), here)
    moved = spins.view(6, 6, 3).rot90().reshape(36, 3)
    torch.testing.assert_close(environments(lattice, moved), here.view(6, 6, -1).rot90().reshape(36, -1))


def test_errors_are_guessed_from_judged_sites_with_like_surroundings():
    x = torch.linspace(0, 1, 200, dtype=torch.float64)[:, None]
    guessed = guessed_errors(x, x[::10], x[::10, 0] ** 2)
    assert float((guessed - x[:, 0] ** 2).abs().max()) < 0.15
    assert float(guessed_errors(x[50:51], x[50:51], torch.tensor([0.3]).double())) == pytest.approx(0.3)


# --- a refinement -----------------------------------------------------------------------------------------------------


def replayed(poor, number=0):
    """The fields of the run of the first round, step by step."""
    total = again(poor).on(LARGE) + EXACT.classical.on(LARGE)
    run = simulate(total, SCHEME, start(generator(OPTIONS.seed, 0)), steps=6, record=At((1, 6), fields=("field",)),
                   rng=generator(OPTIONS.seed, 1))  # fmt: skip
    return run.tensor("field")


def test_labels_are_the_exact_forces_of_the_whole_lattice_within_the_error_of_the_referee(poor, found):
    facts = read_json(found.path / "round-001/round.json", hashed=True)
    replicas, sites = torch.tensor(facts["sites"]).T
    exact = EXACT.on(LARGE)(replayed(poor)).force[replicas, sites]
    chosen = DataSet.open(found.path / "round-001/chosen.zarr")
    labels = chosen.force[chosen.weight > 0]
    assert facts["radius"] > 0 and len(labels) == OPTIONS.sites  # patches, and a label for every site that was chosen
    assert float((labels - exact).square().mean().sqrt()) <= max(facts["referee_error"], 1e-6)
    assert facts["referee_error"] < 0.15 * facts["before"]["chosen"]
    learned = (again(poor) + EXACT.classical).eval().on(LARGE)(replayed(poor)).force[replicas, sites].detach()
    torch.testing.assert_close(
        torch.tensor(facts["errors"]["before"]).double(), (learned - labels).abs()[:, 0], atol=1e-6, rtol=0
    )


def test_chosen_sites_are_distinct_and_worse_than_random_ones(found):
    for number in (1, 2):
        facts = read_json(found.path / f"round-{number:03d}/round.json", hashed=True)
        assert len({tuple(site) for site in facts["sites"]}) == OPTIONS.sites
    assert found.history.chosen_before[0] > found.history.audited_before[0]


def test_refinement_lowers_the_error_against_the_exact_solution_of_the_whole_lattice(poor, found):
    """On an exact run that nothing has seen, where the weights it began with fail."""
    exact = EXACT.on(LARGE)
    run = simulate(exact, SCHEME, start(rng(99)), steps=6, record=At((0, 3, 6)), rng=rng(98))
    field, force = run.tensor("field"), run.tensor("force")
    errors = []
    for model in (again(poor) + EXACT.classical, found.model):
        with torch.no_grad():
            errors.append(float((model.on(LARGE)(field).force - force).square().mean().sqrt()))
    assert errors[1] < 0.7 * errors[0]
    assert float(found.history.audited_after[1]) < float(found.history.audited_before[0])


def test_what_was_done_is_written_down(found):
    history = found.history
    assert history.solutions.values.tolist() == [52, 104] and not found.spent
    for number in (1, 2):
        folder = found.path / f"round-{number:03d}"
        facts = read_json(folder / "round.json", hashed=True)
        assert facts["hashes"]["chosen"] == DataSet.open(folder / "chosen.zarr").hash
        assert facts["after"]["chosen"] == pytest.approx(float(history.chosen_after[number - 1]))
        assert {p.name for p in folder.iterdir()} == {
            "chosen.zarr", "audited.zarr", "labels.safetensors", "fit", "weights.safetensors", "round.json",
        }  # fmt: skip


# --- kills, budgets, refusals -----------------------------------------------------------------------------------------

QUICK = OPTIONS.model_copy(
    update={"times": 1, "sites": 10, "audited": 8, "fit": FIT.model_copy(update={"steps": 20, "checkpoint_every": 5})}
)


def bits(path):
    """Everything that must not depend on kills."""
    facts = sorted(path.glob("round-*/round.json"))
    return [file_hash(p) for p in (*facts, *sorted(path.glob("**/*.safetensors")))] + [
        tree_hash(p) for p in sorted(path.glob("round-*/*.zarr"))
    ]


class Killed(Exception):
    pass


@contextlib.contextmanager
def counted():
    """A list that grows by one whenever learned forces are asked for."""
    usual, calls = LearnedForceField.evaluate, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LearnedForceField, "evaluate", lambda self, field: (calls.append(1), usual(self, field))[1])
        yield calls


@pytest.fixture(scope="module")
def whole(poor, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run"
    with counted() as calls:
        refined(poor, path, options=QUICK)
    return bits(path), len(calls)


@contextlib.contextmanager
def killed_at(call):
    """Dies, and has to, when learned forces are asked for that often."""
    usual, left = LearnedForceField.evaluate, [call]

    def mortal(self, field):
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return usual(self, field)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(LearnedForceField, "evaluate", mortal)
        yield


@pytest.mark.parametrize("part", [0.3, 0.6, *(pytest.param(p, marks=pytest.mark.slow) for p in (0.02, 0.1, 0.8, 0.97))])
def test_a_killed_refinement_ends_with_the_same_bits(part, poor, whole, tmp_path):
    with killed_at(int(part * whole[1])):
        refined(poor, tmp_path / "run", options=QUICK)
    refined(poor, tmp_path / "run", options=QUICK, resume=True)
    assert bits(tmp_path / "run") == whole[0]


@pytest.mark.parametrize("part", [None, pytest.param(0.7, marks=pytest.mark.slow)])
def test_a_run_that_leaves_its_range_is_learned_from_until_there(part, poor, tmp_path):
    """Hot, so that it leaves the range of its start; killed on the way, too."""
    hot = {"scheme": Langevin(dt=0.2, mass=1.0, damping=0.3, kT=8.0)}
    hot["options"] = QUICK.model_copy(update={"rounds": 1, "guard": 1.0, "times": 3, "steps": 30})
    with counted() as calls:
        refined(poor, tmp_path / "run", **hot)
    facts = read_json(tmp_path / "run/round-001/round.json", hashed=True)
    assert max(facts["steps"]) < facts["stopped"] <= 30
    if part is None:
        return
    with killed_at(int(part * len(calls))):
        refined(poor, tmp_path / "again", **hot)
    refined(poor, tmp_path / "again", **hot, resume=True)
    assert bits(tmp_path / "again") == bits(tmp_path / "run")


def test_a_refinement_goes_on_to_more_rounds_and_knows_its_own(poor, whole, tmp_path):
    learned = again(poor)
    refined(poor, tmp_path / "run", learned, options=QUICK.model_copy(update={"rounds": 1}))
    with pytest.raises(FileExistsError, match="resume=True"):
        refined(poor, tmp_path / "run", options=QUICK)
    with pytest.raises(ValueError, match=r"another refinement: .*sites"):
        refined(poor, tmp_path / "run", options=QUICK.model_copy(update={"sites": 11}), resume=True)
    with pytest.raises(ValueError, match="other weights"):
        refined(poor, tmp_path / "run", network(seed=5), options=QUICK, resume=True)
    refined(poor, tmp_path / "run", learned, options=QUICK, resume=True)  # with the weights of the first round
    assert bits(tmp_path / "run") == whole[0]
    (tmp_path / "run/round-002/round.json").write_text(json.dumps({"hash": "0"}))
    with pytest.raises(CorruptFileError, match=r"round.json.*Restore a copy"):
        refined(poor, tmp_path / "run", options=QUICK, resume=True)


def test_the_budget_is_not_exceeded(poor, tmp_path):
    spent = refined(poor, tmp_path / "run", options=QUICK.model_copy(update={"rounds": 9, "solutions": 32}))
    assert spent.spent and spent.history.solutions.values.tolist() == [18, 32]
    with pytest.raises(ValueError, match="do not pay for one round"):
        RefineOptions(solutions=60, audited=60)
    with pytest.raises(ValueError, match="shared among times=5"):
        RefineOptions(audited=8, times=5)


def test_nothing_happens_without_a_round(poor, tmp_path):
    learned = again(poor)
    none = refined(poor, tmp_path / "run", learned, options=QUICK.model_copy(update={"rounds": 0}))
    assert none.history.sizes["round"] == 0
    assert all(torch.equal(value, poor[1][name]) for name, value in learned.state_dict().items())


def other(**changes):
    return {"exact": EXACT.replaced(**changes)}


@pytest.mark.parametrize(
    "changes, words",
    [
        (lambda m: {"learned": FixedNumber(m, 0.0) + EXACT.classical}, "refine the electrons inside FixedNumber"),
        (lambda m: other(solver=ns.solvers.Dense(filling=0.5, kT=0.3)), r"give the electrons at the μ"),
        (lambda m: other(solver=ns.solvers.Dense(mu=0.8, kT=0.3)), "give the electrons that made the data"),
        (lambda m: {"learned": m}, "learned \\+ exact.classical for total forces"),
        (lambda m: {"exact": EXACT.electrons}, "ExactForceField"),
        (lambda m: {"learned": EXACT}, "no parameters to fit"),
        (lambda m: {"learned": UncertainForceField(m) + EXACT.classical}, "not calibrated"),
        (lambda m: {"lattice": ns.lattices.square(24, periodic=False)}, "periodic along every axis"),
        (lambda m: {"lattice": ns.lattices.triangular(24)}, "same kind|lattice"),
        (lambda m: {"learned": ns.moves.ExactMoves}, "learned must be a ForceField"),
        (lambda m: {"options": QUICK.model_copy(update={"referee": 0.0})}, "budget must be"),
        (lambda m: {"field": None}, "a function of a generator"),
        (lambda m: {"options": FIT}, "RefineOptions"),
    ],
)  # fmt: skip
def test_what_has_no_exact_force_on_single_sites_is_refused_with_the_cure(poor, tmp_path, changes, words):
    learned = again(poor)
    arguments = {
        "learned": learned + EXACT.classical, "exact": EXACT, "data": poor[0], "scheme": SCHEME, "field": start,
        "lattice": LARGE, "options": QUICK, "path": tmp_path / "run", "progress": False,
    }  # fmt: skip
    with pytest.raises((ValueError, TypeError), match=words):
        refine(**arguments | changes(learned))
    assert not (tmp_path / "run/round-001").exists()


# --- other force fields -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_uncertain_force_field_chooses_by_its_own_spread_and_is_calibrated_again(poor, tmp_path):
    data = poor[0]
    split = data.split(validation=0.3, test=0.0)
    force = split.validation.force - EXACT.classical(split.validation.field).force
    uncertain = UncertainForceField(again(poor)).calibrate(split.train.field, split.validation.field, force)
    before = uncertain.quantiles.clone()
    options = OPTIONS.model_copy(update={"rounds": 1})
    found = refine(uncertain + EXACT.classical, EXACT, split, scheme=SCHEME, field=start, lattice=LARGE,
                   options=options, path=tmp_path / "run", progress=False)  # fmt: skip
    assert bool(found.history.kept[0])
    assert not torch.equal(before, uncertain.quantiles)
    field = start(rng(5))
    assert float(uncertain.on(LARGE).estimate(field).width.min()) > 0


def test_torques_are_refined_on_the_whole_lattice_where_that_is_the_referee(tmp_path, monkeypatch):
    """Cold electrons on a small lattice: one solution labels all sites near a chosen one, but no audited site."""
    lattice = ns.lattices.triangular(8)
    model = ns.hamiltonians.SDModel(lattice, J=2.0)
    exact = ns.ExactForceField(model, ns.solvers.Dense(mu=-2.0, kT=0.05))
    field = ns.fields.random_spins(lattice, rng(1), 6)
    data = DataSet.from_arrays(lattice=lattice, field=field, force=exact.electrons(field).force, components=3)
    learned = LearnedForceField(
        ns.networks.SpinCNN(lattice, ns.fields.spin(), channels=2, radii=(1.1, 1.1), rng=rng(2))
    )
    short = FIT.model_copy(update={"steps": 20, "batch_size": 4})
    fit(learned, data, options=short, progress=False)
    seen = []
    usual = rounds._labelled

    def watched(problem, fields, sites, replicas, audited):
        parts, facts = usual(problem, fields, sites, replicas, audited)
        seen.append((fields, parts))
        return parts, facts

    monkeypatch.setattr(rounds, "_labelled", watched)
    options = RefineOptions(rounds=1, steps=4, times=1, sites=6, audited=4, fit=short)
    found = refine(learned, exact, data, scheme=ns.dynamics.AB2Rotation(dt=0.1, damping=0.1, kT=0.0, tangent=True),
                   field=lambda rng: ns.fields.random_spins(lattice, rng), lattice=lattice, options=options,
                   path=tmp_path / "run", progress=False)  # fmt: skip
    (fields, parts), facts = seen[0], read_json(tmp_path / "run/round-001/round.json", hashed=True)
    assert facts["radius"] == 0 and int(found.history.solutions[-1]) == 2 * 64
    assert int(parts.weight.sum()) == 64 - 4 and len(parts.field) == 1
    known = parts.weight[0] > 0
    at = torch.cdist(parts.field[0][known], fields[0]).argmin(1)  # the window begins at another site
    error = parts.force[0][known] - exact.electrons(fields[0]).force[at]
    assert float(error.square().mean().sqrt()) <= facts["referee_error"]
    assert found.history.audited_after[0] <= found.history.audited_before[0]
