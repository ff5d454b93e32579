"""What a simulator draws is what detectors would measure: sums over all frequencies are the referee."""

import math
from functools import cache

import pytest
import torch
from scipy import stats
from torch import Tensor

from nearsight.gravity import (
    DETECTORS,
    Coupling,
    GaussBonnet,
    Power,
    Prior,
    Simulator,
    Strain,
    TaylorF2,
    Uniform,
    advanced_ligo,
    frequency_grid,
    inject,
    project,
    sidereal_time,
)
from nearsight.gravity.detectors import strains

F = frequency_grid(20.0, 300.0, duration=8.0)
KNOWN = {"chi_2": 0.0, "inclination": 0.4, "ra": 1.0, "dec": -0.5, "psi": 0.2}
FREE = {"chirp_mass": Uniform(8.0, 9.0), "mass_ratio": Uniform(0.3, 1.0), "chi_1": Uniform(-0.4, 0.4)}
FREE |= {"distance": Power(2, 150, 600), "time": Uniform(6.99, 7.01), "sqrt_alpha": Coupling(most=1.6)}
PRIOR = Prior({**FREE, **KNOWN}, {"phase": Uniform(0, 2 * math.pi)})
WAVES = TaylorF2([GaussBonnet()])
TWO = [DETECTORS["H1"], DETECTORS["L1"]]


@cache
def simulator(**options: object) -> Simulator:
    return Simulator(WAVES, TWO, PRIOR, F, size=60, **options)  # type: ignore[arg-type]


def drawn(seed: int) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {name: value[0] for name, value in PRIOR.source(PRIOR.sample(1, rng), PRIOR.nuisances(1, rng)).items()}


def squared_snr(strain: Strain) -> Tensor:
    """4 Σ |h|²/S Δf of every detector, for data without noise."""
    return 4 * (strain.data.abs() / strain.asd).square().sum(-1) / 8.0


def coefficients(data: Tensor, held: Simulator) -> Tensor:
    return data[..., held.layout["signal"]].unflatten(-1, (len(held.detectors), held.size, 2))


def test_the_fast_strain_is_the_strain() -> None:
    rng = torch.Generator().manual_seed(1)
    source = PRIOR.source(PRIOR.sample(20, rng), PRIOR.nuisances(20, rng))
    exact = project(WAVES(F, source), F, source, TWO, 0.3)
    for dtype, error in ((torch.complex128, 1e-9), (torch.complex64, 1e-5)):
        fast = strains(WAVES, F, source, TWO, 0.3, dtype)
        assert float((fast - exact).abs().max()) < error * float(exact.abs().max())
    other = TaylorF2([GaussBonnet(end=0.5)])
    assert other.expansion(source) is None and strains(other, F, source, TWO, 0.3).shape == exact.shape


def test_signals_keep_their_squared_snr() -> None:
    """Of what the sum over all frequencies has, the loss that is stated is lost, and nothing else."""
    held = simulator()
    stated = held.mismatch(300, torch.Generator().manual_seed(2))
    assert stated["median"] < 0.005 and stated["cells"] < 0.02
    losses = []
    for seed in range(60):
        strain = inject(drawn(seed), WAVES, TWO, advanced_ligo(F), F)
        kept = coefficients(held.embed(strain), held).square().sum((-1, -2))
        losses += (1 - kept / squared_snr(strain)).tolist()
    assert min(losses) > -1e-4
    assert sorted(losses)[60] < 1.5 * stated["median"] + 0.002
    assert sum(loss > stated["tail"] + stated["cells"] for loss in losses) <= 6  # 1.2 are expected, in pairs


def test_draws_are_what_a_strain_embeds_to() -> None:
    """Minus the signal, embedded on its own, draws are white noise of variance one, and so are embedded strains."""
    held = simulator()
    rng = torch.Generator().manual_seed(3)
    state = rng.get_state()
    theta, data = held.draw(40, rng, fiducial=True)
    again = torch.Generator()
    again.set_state(state)
    assert torch.equal(PRIOR.sample(40, again), theta)
    source = PRIOR.source(theta, PRIOR.nuisances(40, again))
    left = []
    for row in range(40):
        one = {name: value[row] for name, value in source.items()}
        clean = held.embed(inject(one, WAVES, TWO, advanced_ligo(F), F))
        noisy = held.embed(inject(one, WAVES, TWO, advanced_ligo(F), F, rng=rng))
        left.append(torch.stack([coefficients(x - clean, held) for x in (data[row], noisy)]))
        assert torch.equal(clean[held.layout["kept"]], torch.ones(16)) and not clean[held.layout["noise"]].any()
    for values in torch.stack(left, 1):
        assert stats.kstest(values.flatten().numpy(), "norm").pvalue > 1e-3
        first, second = values[..., 0].flatten(1).double(), values[..., 1].flatten(1).double()
        for a, b in ((first[:, 1:], first[:, :-1]), (first, second)):  # neighbours are independent
            assert abs(float((a * b).mean())) < 4 / a.numel() ** 0.5


def test_draws_follow_from_the_generator() -> None:
    held = simulator(missing=0.3, notched=0.5)
    one, two = (held.draw(8, torch.Generator().manual_seed(4)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    rng = torch.Generator().manual_seed(4)
    held.draw(8, rng)
    assert not torch.equal(held.draw(8, rng)[1], one[1])
    assert one[1].shape == (8, held.width) and one[1].dtype == torch.float32


def test_another_noise_curve_is_told_and_scales_signals() -> None:
    held, tilted = simulator(), advanced_ligo(F) * (F / 60) ** 0.3
    one = drawn(5)
    strain = inject(one, WAVES, TWO, tilted, F)
    data = held.embed(strain)
    kept = coefficients(data, held).square().sum((-1, -2))
    torch.testing.assert_close(kept.double(), squared_snr(strain), rtol=0.02, atol=0)
    edges = 20 * (300 / 20) ** (torch.arange(9) / 8)
    for told, low, high in zip(data[held.layout["noise"]][:8], edges[:-1], edges[1:], strict=True):
        assert 0.3 * math.log(low / 60) - 0.01 < float(told) < 0.3 * math.log(high / 60) + 0.01


def test_what_is_missing_is_zero_and_told() -> None:
    held, one = simulator(), drawn(6)
    whole = inject(one, WAVES, TWO, advanced_ligo(F), F, rng=torch.Generator().manual_seed(6))
    data, full = held.embed(whole.only("L1")), held.embed(whole)
    assert not coefficients(data, held)[0].any() and not data[held.layout["kept"]][:8].any()
    assert torch.equal(coefficients(data, held)[1], coefficients(full, held)[1])
    cut = whole.without(57.0, 63.0, "H1")
    data = held.embed(cut)
    clean = inject(one, WAVES, TWO, advanced_ligo(F), F)
    kept = data[held.layout["kept"]].unflatten(0, (2, 8)).double()
    weight = 4 * (F ** (-7 / 6) / advanced_ligo(F)).square() / 8.0
    part = ((F / 20).log() / math.log(15) * 8).long().clamp(max=7)
    inside = (F >= 57) & (F <= 63)
    for k in range(8):
        spared = float(weight[(part == k) & ~inside].sum() / weight[part == k].sum())
        assert float(kept[0, k]) == pytest.approx(spared, abs=0.06) and float(kept[1, k]) == 1
    signal = coefficients(held.embed(clean.without(57.0, 63.0)), held).square().sum((-1, -2))
    assert (signal < squared_snr(clean.without(57.0, 63.0)) * 1.001).all()


def test_masked_draws_have_the_noise_of_masked_strains() -> None:
    """Without some of the cells the mean square of noise in the coefficients is the part that is left."""
    held = simulator(missing=0.4, notched=1.0)
    _, data = held.draw(300, torch.Generator().manual_seed(7))
    kept = data[:, held.layout["kept"]].unflatten(1, (2, 8))
    absent = kept.sum(-1) == 0
    assert 0 < int(absent.sum()) < 300 and not absent.all(1).any()
    assert not coefficients(data, held)[absent].any()
    cells = held._noise(torch.zeros(300, 2, len(held.cells), dtype=torch.complex64), torch.Generator().manual_seed(8))
    mask = held._gains(300, torch.Generator().manual_seed(8)) > 0
    seen = torch.view_as_real(held._projected(cells * mask)).square().sum((-1, -2))
    expected = 2 * torch.einsum("ndc,dck->nd", mask.double(), held.basis.abs().square())
    z = (seen - expected) / (4 * expected).clamp(min=1).sqrt()
    assert float(z.abs().mean()) < 1.0 and float(z.mean().abs()) < 0.15


def test_measured_curves_are_drawn() -> None:
    curves = torch.stack([advanced_ligo(F) * c for c in (1.0, 3.0)]).expand(2, 2, -1)
    held = simulator_with(curves)
    _, data = held.draw(400, torch.Generator().manual_seed(9))
    levels = data[:, held.layout["noise"]].unflatten(1, (2, 8))
    assert float((levels - levels[..., :1]).abs().max()) < 1e-4
    high = (levels[..., 0] - math.log(3)).abs() < 1e-3
    assert (high | (levels[..., 0].abs() < 1e-3)).all()
    assert stats.binomtest(int(high.sum()), 800).pvalue > 1e-3


def simulator_with(curves: Tensor) -> Simulator:
    return Simulator(WAVES, TWO, PRIOR, F, size=20, curves=curves)


def test_what_does_not_fit_is_refused() -> None:
    prior = PRIOR.known(chirp_mass=4.0)
    with pytest.raises(ValueError, match="the signal does not fit"):
        Simulator(WAVES, TWO, prior, F)
    with pytest.raises(ValueError, match="holds no signal"):
        Simulator(WAVES, TWO, PRIOR.known(chirp_mass=9.0), frequency_grid(400.0, 900.0, 8.0))
    light = {"chirp_mass": Uniform(2.5, 2.7), "mass_ratio": Uniform(0.1, 0.4), "time": 62.0, "sqrt_alpha": Coupling()}
    wide = Prior({**FREE, **KNOWN, **light}, {"phase": Uniform(0, 2 * math.pi)})
    with pytest.raises(ValueError, match="narrower prior"):
        Simulator(WAVES, TWO, wide, frequency_grid(20.0, 300.0, 64.0))
    held, strain = simulator(), inject(drawn(1), WAVES, TWO, advanced_ligo(F), F)
    for other, message in (
        (inject(drawn(1), WAVES, TWO, advanced_ligo(F[:-9]), F[:-9]), "same band"),
        (inject(drawn(1), WAVES, TWO, advanced_ligo(F), F, gps=1e9), "starts at GPS"),
        (inject(drawn(1), WAVES, [DETECTORS["V1"]], advanced_ligo(F), F), "no detector V1"),
    ):
        with pytest.raises(ValueError, match=message):
            held.embed(other)
    assert sidereal_time(0.0) and len(strain.detectors) == 2


def test_strains_with_gaps_are_refused() -> None:
    strain = inject(drawn(1), WAVES, TWO, advanced_ligo(F), F)
    for value, message in ((0.0, "not positive at 20 Hz"), (math.nan, "not positive"), (-1.0, "zeros and gaps")):
        asd = strain.asd.clone()
        asd[1, 0] = value
        with pytest.raises(ValueError, match=message):
            Strain(F, strain.data, asd, TWO)
    with pytest.raises(ValueError, match="no data are left"):
        strain.without(0.0, 1e4)
    with pytest.raises(ValueError, match="is empty"):
        frequency_grid(50.0, 40.0, 8.0)
    with pytest.raises(ValueError, match="signal does not fit"):
        inject(drawn(1) | {"time": torch.tensor(0.5)}, WAVES, TWO, advanced_ligo(F), F)
