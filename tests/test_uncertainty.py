"""Error bars of single forces: the last layer's Gaussian by explicit algebra, and coverage counted on new draws."""

import numpy as np
import pytest
import torch
from scipy import stats

import nearsight as ns
from nearsight.forcefields import UncertainForceField, load, save
from nearsight.lattices import site_group, site_permutations

LATTICE = ns.lattices.square(6)
LEVELS = (0.68, 0.95)


def learned(head="force", law=None, parity="odd", lattice=LATTICE):
    rng = torch.Generator().manual_seed(5)
    network = ns.networks.GroupCNN(
        lattice, law or ns.fields.scalar(), channels=2, radii=(1.5, 1.1), head=head, parity=parity, rng=rng
    )
    return ns.LearnedForceField(network).double().eval()


def draw(rng, trajectories, model, snapshots=3):
    """Fields of independent trajectories, and forces that are off by heavy-tailed errors which grow with the field, by
    another factor in every trajectory."""
    field = torch.randn(trajectories, snapshots, LATTICE.n_sites, 1, generator=rng, dtype=torch.float64)
    noise = torch.randn(field.shape, generator=rng, dtype=torch.float64)
    other = torch.randn(field.shape, generator=rng, dtype=torch.float64).abs() + 0.3
    scale = torch.exp(0.2 * torch.randn(trajectories, 1, 1, 1, generator=rng, dtype=torch.float64))
    error = 0.02 * scale * (1 + field.square()) * noise / other
    flat = field.flatten(0, 1)
    with torch.no_grad():
        return flat, model(flat).force + error.flatten(0, 1)


@pytest.fixture(scope="module")
def calibrated():
    model, rng = learned(), torch.Generator().manual_seed(1)
    train, _ = draw(rng, 12, model)
    return UncertainForceField(model, LEVELS).double().calibrate(train, *draw(rng, 20, model)), train


def test_the_spread_is_that_of_the_posterior_by_explicit_inversion(calibrated):
    """Φ from the features of fields that were turned and mirrored, instead of features that were permuted."""
    uncertain, train = calibrated
    model, law = uncertain.learned, ns.fields.scalar()
    group = site_group(LATTICE)

    def features(field):
        grid = model._padded(field).squeeze(-2).movedim(-1, 1)
        with torch.no_grad():
            return model.model.features(grid).movedim(1, -1).flatten(1, 2)

    copies = [law.transform(train, group, g, p) for g, p in enumerate(site_permutations(LATTICE, group))]
    h = torch.cat([features(copy).flatten(0, 1) for copy in copies]).numpy()
    phi = h.T @ h / len(h)
    posterior = np.linalg.inv(phi + 1e-4 * np.trace(phi) / len(phi) * np.eye(len(phi)))
    field = torch.randn(2, LATTICE.n_sites, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    here = features(field).numpy()
    expected = np.sqrt(np.einsum("bsf,fg,bsg->bs", here, posterior, here))
    width = uncertain.estimate(field).width[..., 0].numpy()
    np.testing.assert_allclose(width, expected * float(uncertain.quantiles[0, 0]), rtol=1e-8)


def test_intervals_of_new_trajectories_cover_what_they_say():
    """Calibrated and counted on independent draws; the tolerance is what is promised of shipped models."""
    model, rng, found = learned(), torch.Generator().manual_seed(2), []
    for _ in range(12):
        train, _ = draw(rng, 6, model)
        uncertain = UncertainForceField(model, LEVELS).double().calibrate(train, *draw(rng, 40, model))
        field, exact = draw(rng, 40, model)
        estimates = [uncertain.estimate(field, level) for level in LEVELS]
        found.append([float(((exact - e.force).abs() <= e.width).double().mean()) for e in estimates])
    coverage, error = np.mean(found, 0), np.std(found, 0, ddof=1) / np.sqrt(len(found))
    assert 0.65 < coverage[0] < 0.71 and 0.93 < coverage[1] < 0.97
    assert (np.abs(coverage - LEVELS) < 4 * error + 1e-3).all()


def test_intervals_are_the_gaussian_ones_where_errors_are_what_the_posterior_says(calibrated):
    """Errors c·s·N(0, 1) have the quantiles c·1 and c·1.96 of the normal law, found without assuming it."""
    uncertain, train = calibrated
    rng = torch.Generator().manual_seed(7)
    field = torch.randn(400, LATTICE.n_sites, 1, generator=rng, dtype=torch.float64)
    found = uncertain.estimate(field)
    s = found.width / uncertain.quantiles[0, 0]
    exact = found.force + 0.3 * s * torch.randn(field.shape, generator=rng, dtype=torch.float64)
    again = UncertainForceField(uncertain.learned, LEVELS).double().calibrate(train, field, exact)
    expected = 0.3 * stats.norm.ppf((1 + np.array(LEVELS)) / 2)
    np.testing.assert_allclose(again.quantiles[:, 0].numpy(), expected, rtol=0.03)  # four standard errors


def test_the_force_of_an_estimate_is_that_of_the_force_field(calibrated):
    uncertain, _ = calibrated
    field = torch.randn(3, LATTICE.n_sites, 1, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    torch.testing.assert_close(uncertain.estimate(field).force, uncertain(field).force, atol=1e-12, rtol=0)
    torch.testing.assert_close(uncertain(field).force, uncertain.learned(field).force, atol=0, rtol=0)


def test_widths_follow_the_lattice_and_its_symmetry(calibrated):
    uncertain, _ = calibrated
    field = torch.randn(LATTICE.n_sites, 1, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    width, law, group = uncertain.estimate(field).width, ns.fields.scalar(), site_group(LATTICE)
    for g, permutation in enumerate(site_permutations(LATTICE, group)):
        turned = uncertain.estimate(law.transform(field, group, g, permutation)).width
        torch.testing.assert_close(turned, law.transform(width, group, g, permutation), atol=1e-12, rtol=0)
    doubled = field.view(6, 6, 1).repeat(2, 2, 1).reshape(-1, 1)
    wide = uncertain.on(ns.lattices.square(12)).estimate(doubled).width
    torch.testing.assert_close(wide.view(12, 12)[:6, :6], width.view(6, 6), atol=1e-12, rtol=0)


def test_a_large_lattice_is_estimated_in_tiles(calibrated, monkeypatch):
    uncertain, _ = calibrated
    large = uncertain.on(ns.lattices.square(24))
    field = torch.randn(24**2, 1, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    whole = large.estimate(field)
    monkeypatch.setattr(type(large.learned.model), "tile", 50)
    parts = large.estimate(field)
    torch.testing.assert_close(parts.width, whole.width, atol=1e-12, rtol=0)
    torch.testing.assert_close(parts.force, whole.force, atol=1e-12, rtol=0)


@pytest.mark.parametrize("head", ["energy", "force"])
def test_several_components_have_quantiles_of_their_own(head):
    model = learned(head, ns.fields.jahn_teller(), None)
    rng = torch.Generator().manual_seed(9)
    fields = torch.randn(3, 20, LATTICE.n_sites, 3, generator=rng, dtype=torch.float64)
    sizes = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    exact = [model(f).force.detach() + sizes * torch.randn(f.shape, generator=rng, dtype=torch.float64) for f in fields]
    uncertain = UncertainForceField(model).double().calibrate(fields[0], fields[1], exact[1])
    found = uncertain.estimate(fields[2], level=0.95)
    inside = ((exact[2] - found.force).abs() <= found.width).double().mean((0, 1))
    assert ((inside > 0.93) & (inside < 0.97)).all() and (found.energy is None) == (head == "force")
    ratios = uncertain.quantiles[0, 1:] / uncertain.quantiles[0, :-1]
    torch.testing.assert_close(ratios, torch.full_like(ratios, 10.0), atol=0, rtol=0.1)


# --- spins ------------------------------------------------------------------------------------------------------------


def spin_model(head):
    network = ns.networks.SpinCNN(
        LATTICE, ns.fields.spin(), channels=2, radii=(1.1, 1.1), head=head, rng=torch.Generator().manual_seed(5)
    )
    return ns.LearnedForceField(network).double().eval()


def spins(rng, count):
    return torch.stack([ns.fields.random_spins(LATTICE, rng) for _ in range(count)])


def draw_spins(rng, model, trajectories=20, snapshots=2):
    """Unit spins, and fields that are off by errors that grow with the field, by another factor in every trajectory.
    What lies along a spin is off by far more, and is no error."""
    field = spins(rng, trajectories * snapshots)
    with torch.no_grad():
        H = model(field).force
    scale = torch.exp(0.2 * torch.randn(trajectories, 1, 1, 1, generator=rng, dtype=torch.float64))
    noise = torch.randn(H.shape, generator=rng, dtype=torch.float64) * (0.1 + H.norm(dim=-1, keepdim=True))
    error = 0.05 * scale.repeat_interleave(snapshots, 0)[:, 0] * noise
    along = 10 * torch.randn(*field.shape[:-1], 1, generator=rng, dtype=torch.float64) * field
    return field, H + error + along


@pytest.mark.parametrize("head", ["energy", "force"])
def test_intervals_of_the_fields_on_spins_cover_what_they_say(head):
    model, rng, found = spin_model(head), torch.Generator().manual_seed(2), []
    for _ in range(10):
        uncertain = UncertainForceField(model, LEVELS).double().calibrate(spins(rng, 8), *draw_spins(rng, model, 40))
        field, exact = draw_spins(rng, model, 40)
        estimates = [uncertain.estimate(field, level) for level in LEVELS]
        off = uncertain.deviation(field, estimates[0].force, exact)
        assert float((off * field).sum(-1).abs().max()) < 1e-12  # what lies along the spins is left out
        found.append([float((off.abs() <= e.width).double().mean()) for e in estimates])
    coverage, error = np.mean(found, 0), np.std(found, 0, ddof=1) / np.sqrt(len(found))
    assert 0.65 < coverage[0] < 0.71 and 0.93 < coverage[1] < 0.97
    assert (np.abs(coverage - LEVELS) < 4 * error + 1e-3).all()


@pytest.mark.parametrize("head", ["energy", "force"])
def test_widths_on_spins_do_not_change_when_all_spins_are_turned_and_follow_the_lattice(head, tmp_path):
    model, rng = spin_model(head), torch.Generator().manual_seed(3)
    uncertain = UncertainForceField(model, LEVELS).double().calibrate(spins(rng, 8), *draw_spins(rng, model))
    field, group = spins(rng, 1)[0], site_group(LATTICE)
    found = uncertain.estimate(field)
    torch.testing.assert_close(found.force, model(field).force, atol=1e-12, rtol=0)
    assert float(found.width.std()) > 0
    torch.testing.assert_close(found.width, found.width[:, :1].expand(-1, 3), atol=0, rtol=0)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=rng, dtype=torch.float64)).Q
    torch.testing.assert_close(uncertain.estimate(field @ turn.T).width, found.width, atol=1e-12, rtol=0)
    for permutation in site_permutations(LATTICE, group):
        torch.testing.assert_close(
            uncertain.estimate(field[permutation]).width, found.width[permutation], atol=1e-12, rtol=0
        )
    save(uncertain, tmp_path / "model")
    again = load(tmp_path / "model").on(ns.lattices.square(12))
    wide = again.estimate(field.view(6, 6, 3).repeat(2, 2, 1).reshape(-1, 3)).width
    torch.testing.assert_close(wide.view(12, 12, 3)[:6, :6], found.width.view(6, 6, 3), atol=1e-12, rtol=0)


def test_a_calibrated_force_field_is_saved_with_its_intervals(calibrated, tmp_path):
    uncertain, _ = calibrated
    save(uncertain, tmp_path / "model")
    again = load(tmp_path / "model")
    field = torch.randn(LATTICE.n_sites, 1, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    torch.testing.assert_close(again.estimate(field).width, uncertain.estimate(field).width, atol=0, rtol=0)


def test_what_cannot_be_calibrated_is_refused():
    model, field = learned(), torch.zeros(1, LATTICE.n_sites, 1, dtype=torch.float64)
    uncertain = UncertainForceField(model, (0.5, 0.999)).double()
    with pytest.raises(ValueError, match=r"calibrate.*comes first"):
        uncertain.estimate(field, 0.5)
    with pytest.raises(ValueError, match=r"36 sites are too few for an interval that holds 0\.999"):
        uncertain.calibrate(field + 1, field + 1, field)
    with pytest.raises(ValueError, match="shape of field"):
        uncertain.calibrate(field, field, field[0])
    with pytest.raises(ValueError, match=r"level must be .*0\.5"):
        uncertain.estimate(field, 0.68)
    with pytest.raises(TypeError, match="last layer"):
        UncertainForceField(
            ns.LearnedForceField(ns.descriptors.Irreps(LATTICE, ns.fields.scalar(), 1.0), ns.networks.MLP())
        )
    with pytest.raises(ValueError, match="levels"):
        UncertainForceField(model, ())
