"""One learned force field for many Hamiltonians: scaling relations against exact electrons, symmetry to rounding at
every parameter, and what a network that sees the parameters knows more than one that does not."""

import numpy as np
import pytest
import torch
import yaml

import nearsight as ns
from nearsight.forcefields import (
    ElectronForceField,
    ExtrapolationWarning,
    FixedNumber,
    LearnedFamily,
    ParameterBox,
    UncertainForceField,
    load,
    save,
)
from nearsight.hamiltonians import Holstein, JahnTeller, SDModel
from nearsight.lattices import site_group, site_permutations
from nearsight.networks import MLP, GroupCNN, Modulation, SpinCNN
from nearsight.solvers import Dense
from nearsight.training import DataSet, FitOptions, Recipe, evaluate, fit, generate

LATTICE = ns.lattices.square(6)
BOX = {"g": (1.0, 2.0), "kT": (0.1, 0.4)}
EXACT = ns.ExactForceField(Holstein(LATTICE, k=1.5, kappa=0.18), Dense(mu=0.0, kT=0.1))
NONE = {"trajectories": 0, "snapshots": 1}
RANDOM = Recipe(
    random={"trajectories": 30, "snapshots": 3, "amplitude": (0.2, 1.0)}, thermal=NONE, relaxing=NONE,
    near_equilibrium=NONE,
)  # fmt: skip


def network(lattice=LATTICE, head="energy", parity="odd", **options):
    rng = torch.Generator().manual_seed(3)
    settings = {"channels": 2, "radii": (1.5, 1.1), "head": head, "parity": parity} | options
    return GroupCNN(lattice, ns.fields.scalar(), rng=rng, **settings)


def trained(family, size=0.3):
    """The family as a fit may leave it: factors far from those it starts with."""
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in (*family.modulation.parameters(), *([] if family.offsets is None else [family.offsets])):
            p.add_(size * torch.randn(p.shape, generator=rng, dtype=p.dtype))
    return family.double().eval()


def family(box=BOX, exact=EXACT, **options):
    return trained(LearnedFamily(network(**options), exact, box))


def fields(*shape, seed=1):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, LATTICE.n_sites, 1, generator=rng, dtype=torch.float64)


# --- scaling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spins", [1, 2])
def test_holstein_electrons_are_those_of_one_temperature(spins):
    model = Holstein(ns.lattices.triangular(4), t=1.7, g=1.3, spins=spins)
    unit = model.reduction(mu=0.4, kT=0.15)
    exact = ElectronForceField(model, Dense(mu=0.4, kT=0.15))
    reduced = ElectronForceField(Holstein(model.lattice, g=1.0), Dense(mu=0.0, kT=unit.parameters["kT"]))
    field = torch.randn(3, 16, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found, expected = reduced(unit.scale * field + unit.shift), exact(field)
    torch.testing.assert_close(unit.energy * unit.scale * found.force, expected.force, atol=1e-12, rtol=0)
    torch.testing.assert_close(unit.energy * found.energy + 16 * unit.constant, expected.energy, atol=1e-11, rtol=0)


def test_without_a_scaling_relation_nothing_is_claimed():
    assert Holstein(LATTICE, symmetric=False).reduction(mu=0.0, kT=0.1) is None
    assert Holstein(LATTICE, t=(1.0, 0.2)).reduction(mu=0.0, kT=0.1) is None
    assert JahnTeller(LATTICE).reduction(mu=0.0, kT=0.1) is None


def test_couplings_and_chemical_potentials_need_no_parameter_of_the_network():
    one = LearnedFamily(network(), EXACT, {"g": (1.0, 2.0), "mu": (-0.5, 0.5)})
    assert one.reduced is None and not list(one.modulation.parameters())
    two = LearnedFamily(network(), EXACT, {"g": (1.0, 2.0), "t": (0.5, 2.0), "kT": (0.1, 0.4)})
    assert two.reduced.ranges == {"kT": (0.05, 0.8)}


@pytest.mark.parametrize("head", ["energy", "force"])
def test_coupling_and_chemical_potential_are_units_of_the_field(head):
    learned = family({"g": (0.5, 3.0), "mu": (-1.0, 1.0), "kT": (0.1, 0.4)}, head=head)
    field = fields(2)
    weak, strong = (learned.with_parameters(g=g, mu=mu, kT=0.2) for g, mu in ((1.0, 0.0), (2.0, 0.6)))
    expected, found = weak(2.0 * field + 0.6), strong(field)
    torch.testing.assert_close(found.force, 2.0 * expected.force, atol=1e-12, rtol=0)
    if head == "energy":
        torch.testing.assert_close(found.energy, expected.energy - 0.3 * LATTICE.n_sites, atol=1e-10, rtol=0)


# --- one Hamiltonian --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["energy", "force"])
@pytest.mark.parametrize("parity", ["odd", None])
def test_a_batch_of_many_parameters_is_one_force_field_after_the_other(head, parity):
    learned, field = family({"kT": (0.1, 0.4)}, head=head, parity=parity), fields(5)
    exact = EXACT.replaced(model=EXACT.model.replaced(g=1.0))
    kT = torch.tensor([0.1, 0.2, 0.4, 0.35, 0.15], dtype=torch.float64)
    learned = trained(LearnedFamily(learned.model, exact, {"kT": (0.1, 0.4)}))
    with torch.no_grad():
        together = learned.conditioned(learned.box.rescaled(kT[:, None]))(field)
    for k, x in enumerate(field):
        alone = learned.with_parameters(kT=float(kT[k]))(x)
        torch.testing.assert_close(together.force[k], alone.force, atol=1e-12, rtol=0)
        if head == "energy":
            torch.testing.assert_close(together.energy[k], alone.energy, atol=1e-11, rtol=0)


def test_the_factors_are_polynomials_and_one_network_at_the_middle():
    modulation = Modulation(network(), 2, degree=3)
    assert sorted(modulation.powers) == [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (3, 0)]
    u = torch.tensor([0.3, -0.7], dtype=torch.float64)
    expected = [np.cos(a * np.arccos(0.3)) * np.cos(b * np.arccos(-0.7)) for a, b in modulation.powers]
    np.testing.assert_allclose(modulation.polynomials(u).numpy(), expected, atol=1e-14)


def test_spins_turn_with_the_force_field_of_a_family():
    lattice, law = ns.lattices.triangular(4), ns.fields.spin()
    exact = ns.ExactForceField(SDModel(lattice, J=1.3), Dense(mu=-0.3, kT=0.2))
    net = SpinCNN(lattice, law, channels=2, radii=(1.1, 1.1))
    learned = trained(LearnedFamily(net, exact, {"J": (1.0, 3.0), "mu": (-1.0, 0.0)}))
    rng = torch.Generator().manual_seed(1)
    spins = torch.randn(2, 16, 3, generator=rng, dtype=torch.float64)
    one = learned.with_parameters(J=2.5, mu=-0.8)
    u = learned.box.rescaled(torch.tensor([[2.5, -0.8], [1.0, 0.0]], dtype=torch.float64))
    force, energy = one(spins)
    assert float((force - learned.with_parameters(J=1.0, mu=0.0)(spins).force).abs().max()) > 1e-3
    with torch.no_grad():
        torch.testing.assert_close(learned.conditioned(u)(spins).force[0], force[0], atol=1e-12, rtol=0)
    R = law.internal_operation(3, rng)
    turned = one(spins @ R.T)
    torch.testing.assert_close(turned.force, force @ R.T, atol=1e-12, rtol=0)
    torch.testing.assert_close(turned.energy, energy, atol=1e-12, rtol=1e-12)
    group = site_group(lattice)
    for g, permutation in enumerate(site_permutations(lattice, group)):
        moved = one(law.transform(spins, group, g, permutation)).force
        torch.testing.assert_close(moved, law.transform(force, group, g, permutation), atol=1e-12, rtol=0)


def test_a_family_has_no_forces_of_its_own():
    with pytest.raises(ValueError, match=r"family of Hamiltonians, take one: with_parameters\(g=1.5, kT=0.25\)"):
        family()(fields())


def test_a_larger_lattice_shares_what_is_learned():
    learned = family()
    there = learned.on(ns.lattices.square(12))
    field = fields()
    doubled = field.view(6, 6, 1).repeat(2, 2, 1).reshape(-1, 1)
    small, large = (x.with_parameters(g=1.2, kT=0.3) for x in (learned, there))
    torch.testing.assert_close(large(doubled).energy, 4 * small(field).energy, rtol=1e-12, atol=0)
    with torch.no_grad():
        learned.modulation.gains[0].mul_(1.5)
    assert torch.equal(there.modulation.gains[0], learned.modulation.gains[0])
    assert torch.equal(there.with_parameters(g=1.2, kT=0.3)(doubled).force[0],
                       learned.with_parameters(g=1.2, kT=0.3).on(there.lattice)(doubled).force[0])  # fmt: skip


def test_a_family_and_its_members_are_saved_without_pickle(tmp_path):
    learned, field = family(), fields(2)
    one = learned.with_parameters(g=1.7, kT=0.15)
    for name, forcefield in (("family", learned), ("one", one), ("sum", one + EXACT.classical)):
        save(forcefield, tmp_path / name)
        assert sorted(x.name for x in (tmp_path / name).iterdir()) == ["model.yaml", "weights.safetensors"]
    again = load(tmp_path / "family").with_parameters(g=1.7, kT=0.15)
    for other in (again, load(tmp_path / "one")):
        torch.testing.assert_close(other(field), one(field), atol=0, rtol=0)
        assert other.card.parameters["g"] == 1.7 and other.card.parameters["kT"] == 0.15
    assert load(tmp_path / "family").box.ranges == BOX


def test_networks_written_before_they_had_units_of_the_field_are_read(tmp_path):
    learned = ns.LearnedForceField(network())
    save(learned, tmp_path / "model")
    page = tmp_path / "model" / "model.yaml"
    described = yaml.safe_load(page.read_text())
    assert described["model"].pop("affine") == [1.0, 0.0]
    from nearsight.storage import write_yaml

    described.pop("hash")
    write_yaml(page, described, hashed=True)
    field = fields().float()
    torch.testing.assert_close(load(tmp_path / "model")(field), learned.eval()(field), atol=0, rtol=0)


# --- what goes with a force field -------------------------------------------------------------------------------------


def test_the_card_names_the_exact_partner_which_an_audit_takes():
    learned = family()
    one = learned.with_parameters(g=1.7, kT=0.35, k=2.0)  # springs need no learning
    assert one.card.parameters | {"g": 1.7, "kT": 0.35, "k": 2.0} == one.card.parameters
    exact = EXACT.with_parameters(g=1.7, kT=0.35, k=2.0)
    assert one.card.differences(exact) == {}
    lattice = ns.lattices.square(12)
    total, rng = one.on(lattice) + exact.classical.on(lattice), torch.Generator().manual_seed(1)
    field = torch.randn(144, 1, generator=rng, dtype=torch.float64)
    found = ns.Audit(one.card.exact, sites=144).of(total, ns.dynamics.State(field, None, total(field), 0.0, 0))
    electrons = ElectronForceField(exact.model.replaced(lattice=lattice), exact.solver)
    error = float((electrons(field).force - one.on(lattice)(field).force).square().mean().sqrt())
    assert float(found.rms) == pytest.approx(error)  # all sites were looked at


def test_intervals_are_those_of_one_member():
    one, field = family(head="force").with_parameters(g=1.7, kT=0.3), fields(12)
    exact = EXACT.with_parameters(g=1.7, kT=0.3).electrons
    uncertain = UncertainForceField(one).calibrate(field[:4], field[4:], exact(field[4:]).force)
    found = uncertain.estimate(field[4:], level=0.95)
    inside = (exact(field[4:]).force - found.force).abs() <= found.width
    assert 0.94 < float(inside.double().mean()) < 0.96
    torch.testing.assert_close(found.force, one(field[4:]).force, atol=1e-12, rtol=0)


def test_a_fixed_number_is_that_of_one_member():
    one = family({"g": (1.0, 2.0), "mu": (-0.5, 0.5), "kT": (0.1, 0.4)}).with_parameters(g=1.5, mu=0.2, kT=0.3)
    uniform = one(fields() * 0.0).force[0, 0]
    fixed = FixedNumber(one, float(uniform))
    torch.testing.assert_close(fixed(fields() * 0.0).force[0, 0], uniform, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="mean force of a fixed number"):
        fixed.with_parameters(g=1.2)


# --- parameters by name -----------------------------------------------------------------------------------------------


def test_exact_force_fields_take_parameters_by_name():
    other = EXACT.with_parameters(g=1.9, kT=0.3, kappa=0.1)
    assert (other.model.g, other.model.kappa, other.model.k, other.solver.kT) == (1.9, 0.1, 1.5, 0.3)
    assert EXACT.model.g == 1.5
    mean_field = ns.solvers.SelfConsistent(Dense(mu=0.0, kT=0.2), U=1.0)
    nested = ElectronForceField(Holstein(LATTICE, spins=2), mean_field).with_parameters(U=2.0, kT=0.3)
    assert (nested.solver.U, nested.solver.solver.kT) == (2.0, 0.3)
    total = (family() + EXACT.classical).with_parameters(g=1.2, kT=0.3, k=2.5)
    assert total.parts[1].model.k == 2.5 and total.parts[1].model.g == 1.2
    assert total.card.parameters["k"] == 2.5


def test_bad_input_is_refused_with_the_cure():
    learned = family()
    with pytest.raises(ValueError, match=r"kT missing: .*with_parameters\(g=1.5, kT=0.25\)"):
        learned.with_parameters(g=1.2)
    with pytest.raises(ValueError, match=r"No part of .* has a parameter called 'temperature'"):
        learned.with_parameters(g=1.2, kT=0.2, temperature=0.1)
    with pytest.raises(TypeError, match="g must be a finite real number"):
        learned.with_parameters(g="1.2", kT=0.2)
    with pytest.raises(ValueError, match="No part of"):
        EXACT.with_parameters(U=1.0)
    with pytest.raises(ValueError, match="LearnedFamily learns several"):
        (ns.LearnedForceField(network()) + EXACT.classical).with_parameters(g=1.2)
    with pytest.raises(ValueError, match=r"range of kT is \(low, high\).*write kT=\(0.1, 0.4\)"):
        ParameterBox({"kT": (0.4, 0.1)})
    with pytest.raises(ValueError, match="leave a parameter that is fixed out"):
        ParameterBox({"kT": (0.4, 0.4)})
    with pytest.raises(ValueError, match="has no parameter called 'U'"):
        LearnedFamily(network(), EXACT, {"U": (0.0, 1.0)})
    with pytest.raises(TypeError, match="model must be a GroupCNN or SpinCNN"):
        LearnedFamily(MLP((4,)), EXACT, BOX)
    with pytest.raises(ValueError, match=r"No part of .* 'U'"):
        generate(EXACT, RANDOM, "nowhere", seed=1, parameters={"U": (0.0, 1.0)})
    with pytest.raises(ValueError, match="break its symmetry"):
        GroupCNN(LATTICE, ns.fields.ising(), affine=(1.0, 0.5))


def test_parameters_outside_of_the_box_are_told_with_their_numbers():
    with pytest.warns(ExtrapolationWarning, match=r"g = 2.5 \(trained from 1 to 2\)") as told:
        family().with_parameters(g=2.5, kT=0.2)
    assert told[0].filename == __file__


# --- data -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("family") / "data.zarr"
    return generate(EXACT, RANDOM, path, seed=1, parameters=BOX, workers=0, progress=False)


def test_every_trajectory_has_parameters_of_its_own_and_their_forces(data):
    assert list(data.parameters) == ["g", "kT"] and "at several g, kT" in repr(data)
    for values, rows in data.by_parameters():
        assert len(set(data.trajectory[rows])) == 1
        assert all(low <= values[name] <= high for name, (low, high) in BOX.items())
    values, rows = next(data.by_parameters())
    force = EXACT.with_parameters(**values)(data.field[rows]).force
    torch.testing.assert_close(data.force[rows], force, atol=1e-12, rtol=0)
    again = DataSet.open(data.path).split(seed=1)
    assert again.train.parameters["g"].shape == (len(again.train),)


def test_fields_are_the_same_random_numbers_with_and_without_parameters(data, tmp_path):
    plain = generate(EXACT, RANDOM, tmp_path / "plain", seed=1, workers=0, progress=False)
    torch.testing.assert_close(plain.field, data.field, atol=0, rtol=0)
    assert plain.parameters == {} and plain.hash != data.hash


def test_interrupted_data_end_with_the_same_bits(data, tmp_path, monkeypatch):
    from nearsight.training import _snapshots as snapshots

    make, left = snapshots.make, iter(range(12))

    def dies(*task):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return make(*task)

    settings = dict(seed=1, parameters=BOX, workers=0, progress=False)
    monkeypatch.setattr(snapshots, "make", dies)
    with pytest.raises(KeyboardInterrupt):
        generate(EXACT, RANDOM, tmp_path / "data", **settings)
    monkeypatch.setattr(snapshots, "make", make)
    with pytest.raises(ValueError, match="g"):
        generate(EXACT, RANDOM, tmp_path / "data", **settings | {"parameters": BOX | {"g": (1.0, 3.0)}})
    assert generate(EXACT, RANDOM, tmp_path / "data", **settings).hash == data.hash


def test_parameters_of_arrays_are_checked(data):
    arrays = dict(lattice=LATTICE, field=data.field, force=data.force)
    made = DataSet.from_arrays(**arrays, parameters={"g": data.parameters["g"], "kT": 0.2})
    assert (made.parameters["kT"] == 0.2).all() and (made.parameters["g"] == data.parameters["g"]).all()
    with pytest.raises(ValueError, match=r"parameters\['g'\] must hold one finite number for each of the 90"):
        DataSet.from_arrays(**arrays, parameters={"g": np.ones(3)})
    learned = LearnedFamily(network(), EXACT, BOX)
    for given, told in (({}, "none"), ({"g": data.parameters["g"]}, "g")):
        with pytest.raises(ValueError, match=f"the data have {told}: .*parameters=box"):
            fit(learned, DataSet.from_arrays(**arrays, parameters=given), options=FitOptions(steps=1), progress=False)


def test_large_forces_at_some_parameters_do_not_outweigh_small_ones():
    from nearsight.training._loss import parameter_weights

    rng = torch.Generator().manual_seed(1)
    u = torch.linspace(-1, 1, 40, dtype=torch.float64).repeat_interleave(5)[:, None]
    force = torch.exp(1.5 * u)[..., None] * torch.randn(200, 30, 1, generator=rng, dtype=torch.float64)
    weight = parameter_weights(u, force)
    np.testing.assert_allclose(torch.log(weight[-1] / weight[0]), -6.0, rtol=0.05)
    squares = force.square().mean((1, 2))
    assert float((weight * squares).mean()) == pytest.approx(float(squares.mean()))


# --- fits -------------------------------------------------------------------------------------------------------------

OPTIONS = FitOptions(steps=220, warmup=20, learning_rate=1e-2, validate_every=55, test=0.1)


def test_the_dependence_on_temperature_is_learned(tmp_path):
    """At both ends of the box errors are smaller than those of a network in the same reduced field without kT."""
    box, chain = {"g": (1.0, 2.0), "kT": (0.3, 3.0)}, ns.lattices.chain(12)
    member = EXACT.replaced(model=Holstein(chain))
    data = generate(member, RANDOM, tmp_path / "data", seed=2, parameters=box, workers=0, progress=False)
    field = 0.6 * torch.randn(40, 12, 1, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    errors = {}
    for name in ("family", "blind"):
        learned = LearnedFamily(network(chain, head="force", channels=4, radii=(2.0, 2.0)), member, box)
        for gain in learned.modulation.gains if name == "blind" else ():
            gain.requires_grad_(False)
        fit(learned + member.classical, data, options=OPTIONS, progress=False)
        for kT in box["kT"]:
            exact = member.with_parameters(g=1.4, kT=kT).electrons
            error = learned.with_parameters(g=1.4, kT=kT)(field).force - exact(field).force
            errors[name, kT] = float(error.square().mean().sqrt())
    for kT in box["kT"]:
        assert errors["family", kT] < 0.5 * errors["blind", kT]


def test_errors_of_a_family_are_those_at_the_parameters_of_each_snapshot(data):
    learned = family()
    found = evaluate(learned + EXACT.classical, data)
    squares = [
        float((learned.with_parameters(**values)(data.field[rows]).force
               + EXACT.with_parameters(**values).classical(data.field[rows]).force - data.force[rows]).square().sum())
        for values, rows in data.by_parameters()
    ]  # fmt: skip
    assert found["force"]["rmse"] == pytest.approx(np.sqrt(sum(squares) / data.force.numel()))
    assert found["energy"] is not None and evaluate(EXACT, data)["force"]["rmse"] < 1e-12


@pytest.mark.slow
def test_energies_of_a_family_are_learned_with_their_constant(data):
    learned = LearnedFamily(network(), EXACT, BOX)
    fit(learned + EXACT.classical, data, options=OPTIONS, progress=False)
    energy = evaluate(learned + EXACT.classical, data)["energy"]
    assert energy["rmse"] < 0.1 * energy["label"] and abs(energy["offset"]) < 0.2 * energy["label"]


def test_a_fit_goes_on_with_the_same_bits(data, tmp_path):
    short = OPTIONS.model_copy(update={"steps": 12, "validate_every": 3, "checkpoint_every": 2})
    whole = LearnedFamily(network(), EXACT, BOX)
    fit(whole + EXACT.classical, data, options=short, path=tmp_path / "whole", progress=False)

    class Stop(Exception):
        pass

    from nearsight.training.trainer import Trainer

    advance, count = Trainer.advance, iter(range(7))

    def stops(self):
        if next(count, None) is None:
            raise Stop
        advance(self)

    parts = LearnedFamily(network(), EXACT, BOX)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "advance", stops)
        with pytest.raises(Stop):
            fit(parts + EXACT.classical, data, options=short, path=tmp_path / "parts", progress=False)
    parts = LearnedFamily(network(), EXACT, BOX)
    fit(parts + EXACT.classical, data, options=short, path=tmp_path / "parts", resume=True, progress=False)
    for name, value in whole.state_dict().items():
        assert torch.equal(parts.state_dict()[name], value), name
