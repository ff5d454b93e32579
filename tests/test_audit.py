"""The error of forces measured in a run: against the whole lattice, interval by interval, kill by kill."""

import dataclasses

import numpy as np
import pytest
import torch

import nearsight as ns
from nearsight.dynamics import AuditWarning, Every, Langevin, State, Trajectory, UntrustedError
from nearsight.dynamics.run._audit_statistics import draw, mean_interval, rms_interval, unusual
from nearsight.forcefields import ClassicalForceField, FixedNumber, Forces, PatchForces, Referee
from nearsight.forcefields.referee import PART
from nearsight.hamiltonians import FalicovKimball, Holstein, JahnTeller, Peierls, SDModel, skyrmion_magnet
from nearsight.lattices import chain, cut_patches, honeycomb, square, triangular
from nearsight.solvers import NEGF, Dense, Pattern, Poles, SparseMatrix, local_elements
from nearsight.storage import CorruptFileError


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def spins(lattice, seed=0):
    return torch.nn.functional.normalize(
        torch.randn(lattice.n_sites, 3, generator=rng(seed), dtype=torch.float64), dim=-1
    )


MODELS = {
    "Holstein": Holstein(square(9)),
    "Holstein, twisted": Holstein(square(9), twist=(0.5, 0.0)),
    "Jahn-Teller": JahnTeller(square(8), symmetric=True),
    "Peierls": Peierls(square(8)),
    "spins, honeycomb": SDModel(honeycomb(5), J=2.0),
    "spins, chain": SDModel(chain(20), J=1.0),
    "Falicov-Kimball": FalicovKimball(square(8)),
}
KT = 0.1


def rms(x):
    return float(x.square().mean().sqrt())


def random_field(model, seed=0):
    if model.components == 3 and isinstance(model, SDModel):
        return spins(model.lattice, seed)
    return 0.3 * torch.randn(model.lattice.n_sites, model.components, generator=rng(seed), dtype=torch.float64)


# --- the density matrix in one place ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_elements_in_one_place_are_those_of_the_diagonalised_matrix(name):
    model = MODELS[name]
    fields = torch.stack([random_field(model, seed) for seed in range(3)])
    matrix = SparseMatrix(Pattern(*model.positions, model.orbitals), model.elements(fields))
    where = torch.arange(min(5, len(model.rows)))
    for mu in (0.0, 0.6):
        found = local_elements(matrix, model.rows[where], model.columns[where], kT=KT, mu=mu, tol=1e-8)
        exact = Dense(kT=KT, mu=mu).solve(model.matrix(fields), model.rows[where], model.columns[where]).rho
        assert float((found - exact).abs().max()) < 1e-8


def test_a_level_outside_of_the_band_of_a_few_matrices_is_found_all_the_same():
    model = MODELS["Holstein"]
    fields = torch.zeros(9, 81, 1, dtype=torch.float64)
    fields[4, 40] = 20.0  # Lanczos looks at one in three
    matrix = SparseMatrix(Pattern(*model.positions, model.orbitals), model.elements(fields))
    where = torch.tensor([40])
    found = local_elements(matrix, where, where, kT=KT, mu=0.0)
    exact = Dense(kT=KT, mu=0.0).solve(model.matrix(fields), where, where).rho
    assert float((found - exact).abs().max()) < 1e-6


# --- patches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("periodic", [True, False, (True, False)], ids=str)
@pytest.mark.parametrize("closed", [True, False])
def test_a_patch_holds_the_sites_around_its_centre(periodic, closed):
    lattice = dataclasses.replace(honeycomb(9), periodic=periodic)
    wanted = np.arange(0, lattice.n_sites, 7)
    seen = []
    for patches in cut_patches(lattice, wanted, 2, closed=closed):
        assert (patches.sites[:, patches.centre] == wanted[patches.drawn]).all()
        assert all(len(set(row)) == patches.lattice.n_sites for row in patches.sites)
        step = patches.lattice.positions - patches.lattice.positions[patches.centre]
        for row in patches.sites:  # up to a winding of the torus
            apart = lattice.positions[row] - lattice.positions[row[patches.centre]] - step
            cells = apart @ np.linalg.inv(lattice.vectors) / 9
            assert np.allclose(cells, cells.round(), atol=1e-9)
        seen.extend(patches.drawn)
    assert sorted(seen) == list(range(len(wanted)))


@pytest.mark.parametrize("solver", ["moments", "dense"])
@pytest.mark.parametrize("name", MODELS)
def test_a_patch_as_large_as_the_lattice_gives_the_exact_force(name, solver):
    model = MODELS[name]
    if isinstance(model, FalicovKimball):
        pytest.skip("its field is discrete, and its force has no use")
    field, sites = random_field(model), torch.arange(0, model.lattice.n_sites, 5)
    exact = ns.ExactForceField(model, Dense(kT=KT, mu=0.3)).electrons(field).force[sites]
    for boundary in ("open", "periodic", "twisted"):
        patches = PatchForces(model, model.lattice, KT, 0.3, 10, boundary, solver, tol=1e-9)
        assert float((patches(field, sites) - exact).abs().max()) < 2e-8


def test_the_error_of_a_patch_falls_exponentially_with_its_radius():
    model = Holstein(square(24))
    field = torch.randn(2, 576, 1, generator=rng(1), dtype=torch.float64)
    sites, replicas = torch.arange(0, 576, 29), torch.arange(20) % 2
    exact = ns.ExactForceField(model, Dense(kT=KT, mu=0.0)).electrons(field).force[replicas, sites]
    for boundary, first in (("open", 0.02), ("periodic", 0.05)):
        patches = [PatchForces(model, square(24), KT, 0.0, radius, boundary) for radius in (3, 6, 9)]
        errors = [float((p(field, sites, replicas) - exact).square().mean().sqrt()) for p in patches]
        assert errors[0] < first
        assert errors[1] < 0.4 * errors[0]
        assert errors[2] < 0.4 * errors[1]


# --- the referee ------------------------------------------------------------------------------------------------------


def judged(model, lattice, field, solver, error, count=40, **options):
    """What the referee says of forces that are wrong by Gaussian numbers, and its own true error."""
    exact = ns.ExactForceField(model.on(lattice), solver).electrons(field).force
    sites = torch.randperm(lattice.n_sites, generator=rng(5))[:count]
    wrong = exact[sites] + error * torch.randn(count, model.components, generator=rng(6), dtype=torch.float64)
    found = Referee(model, lattice, solver, **options).judge(field[None], sites, torch.zeros_like(sites), wrong, rms)
    return found, float((found.force - exact[sites]).square().mean().sqrt())


@pytest.mark.parametrize("seed", range(4))
def test_the_referee_is_three_times_better_than_what_it_judges_and_knows_its_error(seed):
    model, lattice = Holstein(square(5)), square(28)
    field = (0.3 + 0.2 * seed) * torch.randn(784, 1, generator=rng(seed), dtype=torch.float64)
    found, true = judged(model, lattice, field, Dense(kT=0.15, mu=0.0), 0.006)
    assert found.converged
    assert found.radius > 0
    assert true < 1.5 * found.error
    assert found.error <= 1.2 * PART * 0.006


def test_the_whole_lattice_is_the_referee_where_it_costs_least():
    model = skyrmion_magnet(triangular(4), B=0.0)
    found, true = judged(model, triangular(12), spins(triangular(12)), Poles(kT=0.05, mu=-3.5), 0.01)
    assert found.radius == 0
    assert true < 1e-4


def test_electrons_too_cold_for_poles_are_judged_by_warmer_ones_at_a_stated_error():
    """Ordered domains of a Peierls lattice at fixed filling: no sum over poles holds at kT = 2·10⁻⁵."""
    lattice, rng = square(28), torch.Generator().manual_seed(1)
    model = ns.hamiltonians.Peierls(lattice, twist=(np.pi, np.pi), t2=0.5)
    wave = torch.from_numpy((-1.0) ** lattice.cells.sum(1))[:, None] * torch.tensor([0.24, 0.0]).double()
    wall = torch.from_numpy(lattice.cells[:, 0] < 14)[:, None]
    field = torch.where(wall, wave, -wave.flip(-1)) + 0.05 * torch.randn(784, 2, generator=rng, dtype=torch.float64)
    solver, sites = Dense(kT=2e-5, filling=0.5), torch.randperm(784, generator=rng)[:200]
    with pytest.raises(ArithmeticError, match="poles"):
        ns.forcefields.ElectronForceField(model, ns.solvers.Poles(kT=2e-5, filling=0.5, tol=1e-5))(field)
    truth = ns.forcefields.ElectronForceField(model, solver)(field).force[sites]
    found = Referee(model, lattice, solver).judge(field[None], sites, 0 * sites, truth + 0.1, rms)
    assert found.solver.startswith("poles at kT = ") and found.converged and found.radius == 0
    error = rms(found.force - truth)
    assert error <= found.error < 0.02


def test_where_the_budget_ends_the_referee_says_how_bad_it_is():
    model, lattice = Holstein(square(5)), square(24)
    field = 0.3 * torch.randn(576, 1, generator=rng(3), dtype=torch.float64)
    found, true = judged(model, lattice, field, Dense(kT=0.05, mu=0.0), 0.001, budget=0.02)
    assert not found.converged
    assert true > PART * 0.001
    assert true < 2 * found.error


def test_without_a_temperature_patches_are_diagonalised():
    model, lattice = Holstein(square(5)), square(30)
    field = 3.0 * torch.tensor((-1.0) ** lattice.cells.sum(-1))[:, None]
    field = field + 0.2 * torch.randn(900, 1, generator=rng(3), dtype=torch.float64)
    found, true = judged(model, lattice, field, Dense(kT=0.0, mu=0.0), 0.005)
    assert found.solver == "dense"
    assert found.converged
    assert true < 0.002


# --- intervals --------------------------------------------------------------------------------------------------------


def population(seed):
    """Errors of a force field of another coupling on a Holstein lattice: not Gaussian, and larger at some sites."""
    field = torch.randn(900, 1, generator=rng(seed), dtype=torch.float64)
    good, other = (
        ns.ExactForceField(Holstein(square(30), g=g), Dense(kT=KT, mu=0.0)).electrons(field).force.numpy()
        for g in (1.5, 1.55)
    )
    return other - good


def covered(errors, feature, n, draws=400):
    """How often intervals from n sites hold the rms and the mean of all, and how wide the former are."""
    true, bias, generator = np.sqrt(np.square(errors).mean()), errors.mean(), rng(1)
    inside, width = np.zeros(2), 0.0
    for _ in range(draws):
        sample = draw(feature, n, generator)
        of = errors[sample.site.numpy()]
        found, mean = rms_interval(of, sample, 0.0), mean_interval(of[:, 0], sample, 0.0)
        inside += [found.low <= true <= found.high, mean.low <= bias <= mean.high]
        width += (found.high - found.low) / (2 * true * draws)
    return inside / draws, width


@pytest.mark.parametrize("n", [40, 200])
def test_intervals_cover_as_often_as_they_say(n):
    errors = population(0)
    inside, _ = covered(errors, torch.rand(900, generator=rng(2)), n)
    assert (inside > 0.92).all(), inside


@pytest.mark.parametrize(("rare", "larger"), [(0.03, 10.0), (0.01, 10.0), (0.1, 4.0)])
def test_rare_sites_with_large_errors_are_not_overlooked(rare, larger):
    """Where 1 % of the sites make half of the mean square, intervals of plain samples miss it one time in three."""
    generator = np.random.default_rng(3)
    wall = generator.random(20000) < rare
    errors = generator.standard_normal((20000, 1)) * np.where(wall, larger, 1.0)[:, None]
    # Of the sites in walls all but a few look like it, and some others do.
    feature = torch.from_numpy(generator.standard_normal(20000) + np.where(wall, 4.0, 0.0))
    inside, width = covered(errors, feature, 200)
    assert (inside > 0.89).all(), inside
    assert width < 0.2


def test_the_sample_stands_for_all_sites():
    feature = torch.rand(5000, generator=rng(1))
    sample = draw(feature, 200, rng(2))
    assert len(set(sample.site.tolist())) == len(sample.site) == 200
    assert sample.weights.sum() == pytest.approx(1.0)
    assert sample.sizes.sum() == 5000
    ranks = feature.argsort().argsort()[sample.site].numpy()
    assert (np.searchsorted(np.cumsum(sample.sizes), ranks, side="right") == sample.stratum).all()
    assert np.abs(np.corrcoef(np.arange(200), sample.stratum)[0, 1]) < 0.3  # in random order


def test_walls_are_among_the_unusual_sites():
    lattice = square(40)
    sign = (-1.0) ** lattice.cells.sum(-1) * np.where(lattice.cells[:, 0] < 20, 1.0, -1.0)
    field = torch.from_numpy(sign)[:, None] + 0.05 * torch.randn(1600, 1, generator=rng(1), dtype=torch.float64)
    found = unusual(lattice, field[None], field[None])
    order = lattice.cells[found.argsort(descending=True)[:80].numpy(), 0]
    assert np.isin(order, (0, 19, 20, 39)).mean() > 0.9


def test_errors_on_all_sites_leave_nothing_to_chance():
    errors = population(0)
    sample = draw(torch.rand(900, generator=rng(2)), 900, rng(3))
    errors = errors[sample.site.numpy()]
    found = rms_interval(errors, sample, 0.0)
    assert found.low == pytest.approx(found.value)
    assert found.high == pytest.approx(found.value)
    assert rms_interval(errors, sample, found.value).low == pytest.approx(0.0, abs=1e-8)


# --- a run ------------------------------------------------------------------------------------------------------------

LARGE = square(16)
EXACT = ns.ExactForceField(Holstein(square(6)), Dense(kT=KT, mu=0.0))
CLASSICAL = ClassicalForceField(Holstein(LARGE))
# Before training a network is wrong by as much as the force is, which small patches can tell.
UNTRAINED = ns.LearnedForceField(
    ns.networks.GroupCNN(LARGE, EXACT.field_type, channels=1, radii=(1.0,), rng=rng(1))
).double()
SCHEME = Langevin(dt=0.2, mass=1.0, damping=0.2, kT=KT)
START = torch.randn(2, LARGE.n_sites, 1, generator=rng(4), dtype=torch.float64)


def run(steps=4, engine=UNTRAINED + CLASSICAL, start=START, scheme=SCHEME, record=Every(2), **options):  # noqa: B008
    return ns.dynamics.simulate(engine, scheme, start, steps=steps, record=record, rng=rng(9), **options)


def wrong(lattice):
    """Electrons of a coupling that is off by two per cent, as if they had been learned, and springs."""
    model = Holstein(lattice, g=1.53)
    return ns.ExactForceField(model, Dense(kT=KT, mu=0.0)).electrons, ClassicalForceField(Holstein(lattice))


def test_the_audited_error_is_that_of_the_whole_lattice():
    """Of audits by patches and in all: an interval in twenty may miss."""
    lattice = square(26)
    electrons, springs = wrong(lattice)
    inside, biased = [], []
    for k in range(2):
        field = torch.randn(lattice.n_sites, 1, generator=rng(k), dtype=torch.float64)
        forces = electrons(field)
        truth = (forces.force - EXACT.electrons.on(lattice)(field).force).numpy()
        total = Forces(forces.force + springs(field).force, None)
        for seed in range(8):
            found = ns.Audit(EXACT, sites=60, seed=seed, budget=0.4).of(
                electrons + springs, State(field, None, total, 0.0, k)
            )
            assert found.radius > 0
            assert found.converged
            inside.append(float(found.rms_low) <= np.sqrt(np.square(truth).mean()) <= float(found.rms_high))
            biased.append(float(found.bias_low[0]) <= truth.mean() <= float(found.bias_high[0]))
    assert sum(inside) >= 14, inside
    assert sum(biased) >= 14, biased


def test_a_run_is_the_same_with_and_without_an_audit():
    plain, audited = run(), run(audit=ns.Audit(EXACT, sites=10))
    assert torch.equal(plain.final.field, audited.final.field)
    assert plain.audit is None
    assert audited.audit.step.values.tolist() == [0, 2, 4]


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_to_the_same_audits(tmp_path, monkeypatch):
    options = {"audit": ns.Audit(EXACT, sites=12, at=(0, 1, 3, 4)), "checkpoint_every": 1}
    whole = run(path=tmp_path / "whole", **options)

    for k, step in enumerate((0, 2, 3)):
        path = tmp_path / f"killed-{k}"

        def stop(self, state, forcefield, generator, step=step, go=Langevin.step):
            if state.step == step:
                raise Killed
            return go(self, state, forcefield, generator)

        with monkeypatch.context() as patched:
            patched.setattr(Langevin, "step", stop)
            with pytest.raises(Killed):
                run(path=path, **options)
        resumed = run(path=path, resume=True, **options)
        assert resumed.audit.identical(whole.audit)
        assert torch.equal(resumed.final.field, whole.final.field)
        assert Trajectory.open(path).audit.identical(whole.audit)
        for name in (tmp_path / "whole" / "audit").iterdir():
            assert (path / "audit" / name.name).read_bytes() == name.read_bytes()


def test_audits_of_other_settings_and_lost_ones_are_refused(tmp_path):
    run(path=tmp_path, audit=ns.Audit(EXACT, sites=12))
    with pytest.raises(ValueError, match="another audit"):
        run(steps=6, path=tmp_path, resume=True, audit=ns.Audit(EXACT, sites=13))
    (tmp_path / "audit" / "000000000002.safetensors").unlink()
    with pytest.raises(CorruptFileError, match="lacks the audit of step 2"):
        run(steps=6, path=tmp_path, resume=True, audit=ns.Audit(EXACT, sites=12))


def test_a_fixed_number_is_judged_at_the_chemical_potential_of_the_run():
    lattice = square(26)
    electrons, springs = wrong(lattice)
    engine = FixedNumber(electrons, 1.5 * 0.03, tolerance=1e-4) + springs
    field = torch.randn(2, lattice.n_sites, 1, generator=rng(4), dtype=torch.float64)
    state = State(field, None, engine(field), 0.0, 0)
    found = ns.Audit(EXACT, sites=80, budget=0.1).of(engine, state)
    shift = engine.parts[0].shift(field)
    exact = EXACT.electrons.on(lattice)(field + shift[:, None, None]).force
    error = state.forces.force - springs(field).force - exact
    assert float(found["shift"].std()) > 0
    assert found.radius > 0
    at = torch.tensor(found.replica.values), torch.tensor(found.site.values)
    off = found.error.values - error[at].numpy()
    assert np.sqrt(np.square(off).mean()) < 2 * float(found.referee_error)
    assert float(found.referee_error) < 0.4 * float(found.rms)
    assert float(found.rms_low) <= float(error.square().mean().sqrt()) <= float(found.rms_high)


def test_spins_are_judged_by_what_turns_them():
    small, large = SDModel(square(4), J=1.0), SDModel(square(12), J=1.05)
    engine = ns.ExactForceField(large, Dense(kT=KT, mu=-1.0))
    exact = ns.ExactForceField(small, Dense(kT=KT, mu=-1.0))
    start = spins(square(12))
    state = ns.dynamics.AB2Rotation(dt=0.1, kT=0.0, damping=0.1).start(start, engine, None)
    found = ns.Audit(exact, sites=144).of(engine, state)
    error = engine.electrons(start).force - exact.electrons.on(square(12))(start).force
    error = error - (error * start).sum(-1, keepdim=True) * start
    truth = float(error.square().mean().sqrt())
    assert float(found.rms) == pytest.approx(truth, rel=1e-3)
    assert int(found.site[int(found.worst)]) == int(error.square().sum(-1).argmax())
    centre = found.surrounding_sites.values.tolist().index(int(found.site[int(found.worst)]))
    assert np.allclose(found.surroundings.values[centre], start[int(found.site[int(found.worst)])])


def test_a_run_whose_forces_are_too_bad_is_stopped_or_warned_about(tmp_path):
    with pytest.raises(UntrustedError, match="at 95% confidence at least") as stopped:
        run(audit=ns.Audit(EXACT, sites=40, tol=1e-4), path=tmp_path)
    assert stopped.value.step == 0
    assert stopped.value.rms > 1e-4
    with pytest.warns(AuditWarning, match="tol=0.0001"):
        run(audit=ns.Audit(EXACT, sites=40, tol=1e-4, excess="warn", at=4))
    assert run(audit=ns.Audit(EXACT, sites=40, tol=10.0)).audit.sizes["audit"] == 3


def test_a_picture_shows_every_audit_with_its_interval():
    found = run(audit=ns.Audit(EXACT, sites=12)).audit
    picture = ns.plots.audit(found)
    (axes,) = picture.axes
    assert axes.lines[0].get_ydata().tolist() == found.rms.values[1:].tolist()  # t = 0 has no place on this axis
    assert "12 random sites" in picture.caption
    with pytest.raises(ValueError, match="pass trajectory"):
        ns.plots.audit(found[["rms"]])


def test_some_replicas_are_judged_for_all():
    audit = ns.Audit(EXACT, sites=20, replicas=1)
    state = run(steps=0).final
    found = [audit.of(UNTRAINED + CLASSICAL, dataclasses.replace(state, step=step)) for step in range(8)]
    assert all(len(set(one.replica.values)) == 1 for one in found)
    assert {int(one.replica[0]) for one in found} == {0, 1}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ns.Audit(UNTRAINED), "exact partner of what was learned"),
        (lambda: ns.Audit(ns.ExactForceField(Holstein(square(4)), NEGF)), "Solver"),
        (lambda: ns.Audit(EXACT, sites=1), "sites"),
        (lambda: ns.Audit(EXACT, at=()), "one step or more"),
        (lambda: ns.Audit(EXACT, boundaries=("closed",)), "boundaries"),
        (lambda: ns.Audit(EXACT, excess="ignore"), "excess"),
        (lambda: ns.Audit(EXACT, tol=0.0), "tol"),
        (lambda: run(audit=ns.Audit(ns.ExactForceField(Holstein(triangular(4)), Dense(kT=KT, mu=0.0)))), "same kind"),
        (
            lambda: run(
                audit=ns.Audit(ns.ExactForceField(Holstein(square(4)), Dense(kT=KT, filling=0.5)), budget=1e-9)
            ),
            "At fixed filling forces are not local",
        ),
    ],
)
def test_what_cannot_be_audited_is_refused_with_a_cure(make, words):
    with pytest.raises((TypeError, ValueError), match=words):
        make()
