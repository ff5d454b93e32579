"""Learned fields of magnets: only what turns a spin is learned, and symmetry is built in or taught."""

import math

import pytest
import torch

from nearsight.descriptors import SpinInvariants
from nearsight.fields import spin, tangent
from nearsight.fields.halo import pad_periodic
from nearsight.forcefields import (
    ClassicalForceField,
    ExactForceField,
    ForceField,
    Forces,
    LearnedForceField,
    load,
    save,
)
from nearsight.hamiltonians import Heisenberg, SDModel, skyrmion_magnet
from nearsight.lattices import cubic, square, triangular
from nearsight.networks import MLP, SpinCNN, TorqueResNet
from nearsight.solvers import Dense
from nearsight.storage import load_tensors, read_yaml, save_tensors, write_yaml
from nearsight.training import DataSet, FitOptions, evaluate, fit
from nearsight.training._augmentation import Augmentation
from nearsight.training._loss import Labels, Loss, labels

LATTICE = triangular(4)
SPIN = spin()
TANGENT = FitOptions(
    steps=100,
    batch_size=8,
    learning_rate=0.03,
    warmup=5,
    validate_every=20,
    dtype="float64",
    component="tangent",
    average=0.9,
    test=0.01,
)


def spins(count: int, rng: torch.Generator, lattice=LATTICE) -> torch.Tensor:
    return SPIN.random(lattice.n_sites, 3, rng, count)


def snapshots(forcefield: ForceField, field: torch.Tensor, *, along: float = 0.0) -> DataSet:
    """Labels of a force field, with a field along every spin added that does nothing."""
    force, energy = forcefield(field)
    return DataSet.from_arrays(
        lattice=forcefield.lattice, field=field, force=force + along * field, energy=energy, components=3
    )


def network(lattice=LATTICE, **options) -> LearnedForceField:
    return LearnedForceField(SpinCNN(lattice, SPIN, channels=2, radii=(1.0,), **options))


class Turned(ForceField):
    """The field of another force field, turned about every spin by an angle, and any field along the spins."""

    def __init__(self, other: ForceField, angle: float, along: float) -> None:
        super().__init__()
        self.other, self.angle, self.along = other, angle, along
        self.lattice, self.components = other.lattice, 3

    def on(self, lattice):
        return Turned(self.other.on(lattice), self.angle, self.along)

    def evaluate(self, field):
        force = tangent(self.other(field).force, field)
        turned = math.cos(self.angle) * force + math.sin(self.angle) * torch.linalg.cross(field, force)
        return Forces(turned + self.along * field, None)


# --- what turns a spin ----------------------------------------------------------------------------------------------


def test_the_tangential_field_is_as_long_as_the_torque_and_normal_to_the_spin(rng):
    S, H = spins(5, rng), torch.randn(5, LATTICE.n_sites, 3, generator=rng, dtype=torch.float64)
    T = torch.linalg.cross(S, H)
    torch.testing.assert_close(tangent(H, S).norm(dim=-1), T.norm(dim=-1))
    torch.testing.assert_close(tangent(H, S), torch.linalg.cross(T, S))  # T = S × H, and H⊥ = T × S
    assert float((tangent(H, S) * S).sum(-1).abs().max()) < 1e-14


def test_a_field_along_the_spins_changes_nothing_in_a_fit_of_tangents(rng):
    exact, field = ClassicalForceField(Heisenberg(LATTICE, J=0.01)), spins(24, rng)
    # Not SOAP, whose eigenvectors make much of the last digit.
    options = TANGENT.model_copy(update={"optimizer": "adamw"})
    found = [fit(network(), snapshots(exact, field, along=c), options=options, progress=False) for c in (0.0, 10.0)]
    one, other = (tangent(f(field).force, field) for f in found)
    torch.testing.assert_close(one, other, atol=1e-9, rtol=0)
    data = snapshots(exact, field, along=10.0)
    assert evaluate(found[1], data, component="tangent")["force"]["relative"] < 0.3
    assert evaluate(found[1], data, component="all")["force"]["relative"] > 0.9


def test_small_torques_are_learned_in_units_of_their_own_size(rng):
    """A model a thousand times weaker is learned by the same path, but for rounding."""
    field, found = spins(24, rng), []
    for J in (1.0, 1e-3):
        data = snapshots(ClassicalForceField(Heisenberg(LATTICE, J=J)), field)
        student = fit(network(head="force"), data, options=TANGENT, progress=False)
        found.append(evaluate(student, data, component="tangent")["force"]["relative"])
        assert float(student.reference.scale) == pytest.approx(J * 2**0.5, rel=0.2)  # six neighbours: |H⊥|² = 2/3 · 6
    assert found[1] == pytest.approx(found[0], rel=1e-6)


def test_unit_spins_are_fitted_and_judged_by_their_tangents_unless_told_otherwise(rng):
    field = spins(16, rng)
    data = snapshots(ClassicalForceField(Heisenberg(LATTICE)), field, along=5.0)
    default = TANGENT.model_copy(update={"component": None, "optimizer": "adamw", "steps": 20})
    found = []
    for options in (default, default.model_copy(update={"component": "tangent"})):
        found.append(fit(network(), data, options=options, progress=False))
    assert torch.equal(found[0](field).force, found[1](field).force)
    assert evaluate(found[0], data) == evaluate(found[0], data, component="tangent")
    real = LearnedForceField(SpinInvariants(LATTICE, spin(unit=False), 1.0), MLP((4,)))
    assert evaluate(real, data) == evaluate(real, data, component="all")
    assert "angle" in evaluate(ExactForceField(SDModel(LATTICE), Dense(mu=0.0, kT=0.1)), data)["force"]


def test_lengths_that_are_one_up_to_rounding_do_not_stop_a_fit(rng):
    """Spins stored in single precision, whose lengths a descriptor of spins of any length sees as features."""
    field = spins(16, rng)
    exact = ClassicalForceField(Heisenberg(LATTICE))
    options = TANGENT.model_copy(update={"optimizer": "adamw", "steps": 60})
    errors = []
    for stored in (field, field.float().double()):
        student = LearnedForceField(SpinInvariants(LATTICE, spin(unit=False), 1.0), MLP((8,)))
        fit(student, snapshots(exact, stored), options=options, progress=False)
        errors.append(evaluate(student, snapshots(exact, stored), component="tangent")["force"]["relative"])
        assert float(student.model.network.scale.max()) < 1e3
    assert errors[1] == pytest.approx(errors[0], rel=0.1) and errors[1] < 0.5


def test_labels_that_are_rounding_are_not_blown_up(rng):
    """Fields along the spins have no tangents, and one snapshot repeated no spread of energies."""
    field = spins(1, rng).expand(8, -1, -1)
    data = DataSet.from_arrays(
        lattice=LATTICE, field=field, force=7.3 * field, energy=1e3 + 1e-13 * torch.arange(8.0), components=3
    )
    known = labels(
        data, None, energy=True, dtype=torch.float64, device=torch.device("cpu"), batch=8, component="tangent"
    )
    loss = Loss.of(known, 1.0, 1.0, component="tangent")
    assert (loss.force_scale, loss.energy_scale, loss.energy_weight) == (1.0, 1.0, 0.0)
    assert all(float(part.detach()) < 1e6 for part in loss(network().double(), known))


def test_spins_of_varying_length_have_no_tangents(rng):
    field = 1.1 * spins(12, rng)
    data = snapshots(ClassicalForceField(Heisenberg(LATTICE)), field)
    for call in (
        lambda: fit(network(), data, options=TANGENT, progress=False),
        lambda: evaluate(network(), data, component="tangent"),
    ):
        with pytest.raises(ValueError, match=r"deviate from length 1 by up to 0\.1\. Normalise"):
            call()


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [0.01, 10.0, 150.0])
def test_a_field_turned_about_the_spin_is_measured_by_its_angle(degrees, rng):
    exact = ClassicalForceField(Heisenberg(LATTICE, J=0.3))
    data = snapshots(exact, spins(6, rng))
    errors = evaluate(Turned(exact, math.radians(degrees), along=7.0), data, component="tangent")["force"]
    assert errors["angle"] == pytest.approx({"median": degrees, "q90": degrees}, rel=1e-6)
    assert errors["relative"] == pytest.approx(2 * math.sin(math.radians(degrees) / 2), rel=1e-9)
    torque = torch.linalg.cross(data.field, Turned(exact, math.radians(degrees), 7.0)(data.field).force - data.force)
    assert errors["mse"] == pytest.approx(float(torque.square().mean()), rel=1e-9)


def test_the_relative_loss_is_that_of_torques_with_a_floor_under_small_ones(rng):
    exact, student = ClassicalForceField(Heisenberg(LATTICE, J=0.3)), ClassicalForceField(Heisenberg(LATTICE, J=0.2))
    field = spins(6, rng)
    batch = Labels(field, tangent(exact(field).force, field), None)
    floor = 1e-9
    loss = Loss.of(batch, 1.0, 0.0, component="tangent", relative_floor=floor)(student, batch)[0]
    T, other = (torch.linalg.cross(field, f(field).force) for f in (exact, student))
    assert float(loss) == pytest.approx(float(((other - T).abs().sum(-1) / T.norm(dim=-1)).mean()))
    # A ferromagnet has no torques: nothing is divided by zero, and only the rms of the others counts.
    still = torch.cat([field, torch.zeros_like(field[:1]) + field[0, 0]])
    batch = Labels(still, tangent(exact(still).force, still), None)
    assert float(batch.force[-1].abs().max()) < 1e-15
    loss = Loss.of(batch, 1.0, 0.0, component="tangent", relative_floor=0.1)
    noisy = Turned(exact, 0.1, 0.0)
    assert float(loss(noisy, batch)[0]) < 0.3


# --- taught symmetry ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lattice", [triangular(3), triangular(4, 2)], ids=repr)
@pytest.mark.parametrize("reversal", [True, False])
def test_turned_snapshots_obey_the_same_law(lattice, reversal, rng):
    exact = ExactForceField(SDModel(lattice, t=(1.0, 0.3), J=2.0), Dense(mu=-1.0, kT=0.1))
    field = spins(8, rng, lattice)
    turn = Augmentation(lattice, spin(time_reversal=reversal))
    turned, force = turn(field, exact(field).force, rng)
    torch.testing.assert_close(exact(turned).force, force, atol=1e-11, rtol=0)
    torch.testing.assert_close(exact(turned).energy, exact(field).energy, atol=1e-11, rtol=0)
    chirality = [torch.det(x[:, :3]) for x in (field, exact.model.normalised(turned))]
    assert float((turned - field).abs().amax((1, 2)).min()) > 1e-3 and len(set(chirality[1].tolist())) == 8


def test_an_augmented_fit_is_resumed_bit_for_bit(tmp_path, rng):
    data = snapshots(ClassicalForceField(Heisenberg(LATTICE, J=0.01)), spins(24, rng))
    options = TANGENT.model_copy(update={"augment": True, "checkpoint_every": 10, "steps": 40})
    whole = fit(network(), data, options=options, progress=False)

    class Killed(Exception):
        pass

    class Mortal(LearnedForceField):
        calls = 0

        def evaluate(self, field):
            Mortal.calls += self.training
            if Mortal.calls > 25:
                raise Killed
            return super().evaluate(field)

    with pytest.raises(Killed):
        fit(Mortal(network().model), data, options=options, path=tmp_path, progress=False)
    again = fit(network(), data, options=options, path=tmp_path, resume=True, progress=False)
    assert all(torch.equal(again.state_dict()[name], value) for name, value in whole.state_dict().items())
    plain = fit(network(), data, options=options.model_copy(update={"augment": False}), progress=False)
    assert not torch.equal(plain.model.readout, whole.model.readout)


def test_augmentation_needs_the_law_of_the_field(rng):
    class Lawless(ForceField):
        def __init__(self):
            super().__init__()
            self.lattice, self.components = LATTICE, 3
            self.J = torch.nn.Parameter(torch.tensor(0.0))

        def on(self, lattice):
            return self

        def evaluate(self, field):
            return Forces(self.J * field, None)

    data = snapshots(ClassicalForceField(Heisenberg(LATTICE)), spins(12, rng))
    with pytest.raises(TypeError, match="names the law of its field"):
        fit(Lawless(), data, options=TANGENT.model_copy(update={"augment": True}), progress=False)


def cone(count: int, axis: tuple[float, float, float], rng: torch.Generator) -> torch.Tensor:
    """Spins about one direction."""
    field = torch.tensor(axis, dtype=torch.float64) + 0.6 * spins(count, rng)
    return field / field.norm(dim=-1, keepdim=True)


def test_turned_snapshots_teach_a_network_directions_that_it_has_not_seen(rng):
    exact = ClassicalForceField(Heisenberg(LATTICE, J=0.01))
    up = snapshots(exact, cone(32, (0.0, 0.0, 1.0), rng))
    sideways = snapshots(exact, cone(16, (1.0, 0.0, 0.0), rng))
    errors = {}
    for augment in (False, True):
        options = FitOptions(
            steps=300, learning_rate=1e-2, optimizer="adamw", component="tangent", augment=augment, average=0.9
        )
        student = LearnedForceField(TorqueResNet(LATTICE, SPIN, channels=(12,), kernel=3))
        fit(student, up, options=options, progress=False)
        errors[augment] = evaluate(student, sideways, component="tangent")["force"]["relative"]
    assert errors[True] < 0.5 < 0.8 < errors[False]


# --- the residual network -------------------------------------------------------------------------------------------


def residual(lattice=LATTICE, **options) -> LearnedForceField:
    return LearnedForceField(TorqueResNet(lattice, SPIN, **options)).double().eval()


def test_ten_layers_of_five_see_as_far_as_published():
    network = TorqueResNet(triangular(48), SPIN)
    assert (len(network.weights), network.reach) == (10, (20, 20))
    assert len(network.skips) == 1  # three components become channels once
    assert network.flops_per_site == 2 * 25 * (3 * 32 + 8 * 32 * 32 + 32 * 3) + 2 * 3 * 32


def test_a_site_feels_its_reach_and_no_further(rng):
    lattice = triangular(11)
    forcefield, field = residual(lattice, channels=(3,), kernel=3), spins(1, rng, lattice)[0]
    assert forcefield.reach == (4, 4)
    distance = torch.minimum(torch.arange(11), 11 - torch.arange(11))
    near = (torch.maximum(distance[:, None], distance[None]) <= 4).flatten()
    for region, felt in ((~near, False), (near, True)):
        other = torch.where(region[:, None], spins(1, rng, lattice)[0], field)
        other[0] = field[0]  # the site itself
        assert torch.equal(forcefield(other).force[0], forcefield(field).force[0]) is not felt


@pytest.mark.parametrize("lattice", [triangular(3, 7), cubic(2)], ids=repr)
def test_a_torus_needs_no_halo(lattice, rng):
    forcefield = residual(lattice, channels=(3, 3, 4), kernel=3)
    network, field = forcefield.model, spins(5, rng, lattice)
    assert network.reach == (8,) * lattice.dim
    grid = field.reshape(5, *lattice.shape, 3).movedim(-1, 1)
    inner = network(pad_periodic(grid, network.reach, first=2))
    torch.testing.assert_close(network.local(field), inner.movedim(1, -1).reshape(field.shape), atol=1e-13, rtol=0)
    together = forcefield(field).force
    forcefield.model.tile = 2 * lattice.n_sites  # two at a time, then one
    torch.testing.assert_close(forcefield(field).force, together, atol=1e-13, rtol=0)


def test_its_field_is_normal_to_the_spins_and_exerts_its_torque(rng):
    forcefield, field = residual(channels=(4,), kernel=3), spins(2, rng)
    H = forcefield(field).force
    torch.testing.assert_close(tangent(H, field), H, atol=1e-14, rtol=0)
    grid = field.reshape(2, 4, 4, 3).movedim(-1, 1)
    T = forcefield.model._torque(grid, torus=True).movedim(1, -1).reshape(field.shape)
    torch.testing.assert_close(torch.linalg.cross(field, H), tangent(T, field))


def test_a_residual_network_comes_back_from_disk(tmp_path, rng):
    forcefield, field = residual(channels=(4, 5), kernel=3, rng=rng), spins(2, rng)
    save(forcefield, tmp_path / "model")
    again = load(tmp_path / "model")
    assert repr(again) == repr(forcefield) and torch.equal(again(field).force, forcefield(field).force)
    assert again.field_type == SPIN


@pytest.mark.parametrize(
    ("options", "message"),
    [({"channels": ()}, "one positive number"), ({"channels": (3, 0)}, "positive"), ({"kernel": 4}, "odd")],
)
def test_networks_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TorqueResNet(LATTICE, SPIN, **options)
    with pytest.raises(ValueError, match="take SpinCNN"):
        TorqueResNet(LATTICE, spin(components=2))


# --- electrons ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def electrons() -> tuple[ExactForceField, DataSet]:
    """The triangular magnet of skyrmions on a torus that is quickly diagonalised."""
    exact = ExactForceField(skyrmion_magnet(triangular(6), B=0.0), Dense(mu=-3.5, kT=0.1))
    field = SPIN.random(36, 3, torch.Generator().manual_seed(5), 80)
    return exact, snapshots(exact, field)


def students(lattice) -> dict[str, LearnedForceField]:
    """All of them see the strong couplings of nested Fermi surfaces at distances 1, 2 and 2√3."""

    def cnn(*radii: float, **options) -> LearnedForceField:
        return LearnedForceField(SpinCNN(lattice, SPIN, channels=3, radii=radii, **options))

    bonds = SpinInvariants(lattice, SPIN, 3.5, bond_cutoff=0.0)
    return {
        "descriptor": LearnedForceField(bonds, MLP((8,))),
        "energy": cnn(2.0, 1.0),
        "direct": cnn(3.5, head="force"),
    }


SLOW = pytest.mark.slow


@pytest.mark.parametrize("name", [pytest.param("descriptor", marks=SLOW), pytest.param("energy", marks=SLOW), "direct"])
def test_torques_of_electrons_are_learned(name, electrons, tmp_path):
    exact, data = electrons
    parallel = data.force - tangent(data.force, data.field)
    assert float(parallel.square().mean()) > 10 * float(tangent(data.force, data.field).square().mean())
    split = data.split(validation=0.1, test=0.2)
    options = FitOptions(steps=150, learning_rate=3e-2, component="tangent", validate_every=50, average=0.95)
    student = fit(students(exact.lattice)[name], split, options=options, progress=False)
    errors = evaluate(student, split.test, component="tangent")["force"]
    assert errors["relative"] < 0.6 and errors["angle"]["median"] < 30
    save(student, tmp_path / "model")
    field = split.test.field[:2].float()
    assert torch.equal(load(tmp_path / "model")(field).force, student(field).force)


# --- files ----------------------------------------------------------------------------------------------------------


def test_the_unit_of_a_fit_is_saved_and_older_files_have_unit_one(tmp_path, rng):
    student, field = network().double().eval(), spins(2, rng)
    student.reference.scale.fill_(0.02)
    save(student, tmp_path / "model")
    assert torch.equal(load(tmp_path / "model")(field).force, student(field).force)
    tensors, _ = load_tensors(tmp_path / "model" / "weights.safetensors")
    del tensors["reference.scale"]
    save_tensors(tmp_path / "model" / "weights.safetensors", tensors)
    page = read_yaml(tmp_path / "model" / "model.yaml")
    old = {name: value for name, value in page.items() if name not in ("weights", "sha256")}
    write_yaml(tmp_path / "model" / "model.yaml", old | {"format": 1})
    torch.testing.assert_close(0.02 * load(tmp_path / "model")(field).force, student(field).force)


# --- the whole field ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["energy", "force"])
def test_a_mean_field_along_the_spins_is_taken_from_the_labels_and_given_back(head, rng):
    exact, field = ClassicalForceField(Heisenberg(LATTICE, J=0.3)), spins(24, rng)
    options = TANGENT.model_copy(update={"optimizer": "adamw", "component": "all"})
    found = [
        fit(network(head=head), snapshots(exact, field, along=c), options=options, progress=False) for c in (0.0, 40.0)
    ]
    one, other = (f(field).force for f in found)
    torch.testing.assert_close(one + 40.0 * field, other, atol=1e-8, rtol=0)
    if head == "energy":
        torch.testing.assert_close(found[0](field).energy, found[1](field).energy, atol=1e-8, rtol=0)


@pytest.mark.parametrize("head", ["energy", "force"])
def test_a_mean_field_along_the_spins_is_a_gradient_in_every_tile_and_on_disk(head, rng, tmp_path):
    forcefield = network(head=head).double()
    forcefield.reference.longitudinal.fill_(0.7)
    field = spins(2, rng) * (1 + 0.3 * torch.rand(2, LATTICE.n_sites, 1, generator=rng, dtype=torch.float64))
    force, energy = forcefield.eval()(field)
    forcefield.model.tile = 8
    tiled = forcefield(field)
    torch.testing.assert_close(tiled.force, force)
    if head == "energy":
        torch.testing.assert_close(tiled.energy, energy)
        step = 1e-6 * torch.randn(field.shape, generator=rng, dtype=torch.float64)
        change = forcefield(field + step).energy - forcefield(field - step).energy
        torch.testing.assert_close(change, -2 * (force * step).sum((-2, -1)), rtol=1e-5, atol=1e-12)
    save(forcefield, tmp_path / "model")
    assert torch.equal(load(tmp_path / "model")(field).force, force)
    assert float(load(tmp_path / "model").on(triangular(6)).reference.longitudinal) == 0.7


@pytest.mark.slow
def test_an_energy_learns_the_whole_field_of_strongly_coupled_electrons_as_well_as_a_field_does(rng):
    # Nearly half a band of electrons follows the spins: H·S is thirty times its own fluctuation, on every site.
    lattice = square(6)
    exact = ExactForceField(SDModel(lattice, J=6.0), Dense(kT=0.2, filling=0.45))
    data, unseen = (snapshots(exact, spins(count, rng, lattice)) for count in (100, 20))
    options = TANGENT.model_copy(update={"component": "all", "steps": 500, "learning_rate": 0.02})
    errors = {}
    for head in ("energy", "force"):
        student = LearnedForceField(SpinCNN(lattice, SPIN, channels=3, radii=(1.5, 1.0), head=head))
        learned = fit(student, data, options=options, progress=False)
        errors[head] = evaluate(learned, unseen, component="all")["force"]["relative"]
    assert errors["energy"] < errors["force"] < 0.02
