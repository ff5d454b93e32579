"""Data for networks: templates find signals, and nothing is lost on the way."""

import math

import pytest
import torch

from nearsight.gravity import (
    DETECTORS,
    MatchedFilter,
    Power,
    Prior,
    Simulator,
    TaylorF2,
    Uniform,
    advanced_ligo,
    frequency_grid,
    inject,
)

GRID = frequency_grid(20.0, 256.0, 4.0)
KNOWN = {"chi_1": 0.0, "chi_2": 0.0, "inclination": 0.4, "ra": 1.0, "dec": -0.5, "psi": 0.2}
FREE = {"chirp_mass": Uniform(20.0, 24.0), "mass_ratio": Uniform(0.4, 0.9), "distance": Power(2.0, 300.0, 900.0)}
PRIOR = Prior(KNOWN | FREE | {"time": Uniform(2.99, 3.01)}, marginal={"phase": Uniform(0.0, 2 * math.pi)})


@pytest.fixture(scope="module")
def bank() -> MatchedFilter:
    two = [DETECTORS["H1"], DETECTORS["L1"]]
    simulator = Simulator(TaylorF2(), two, PRIOR, GRID, size=24, missing=0.5, spread=0.1)
    return MatchedFilter(simulator, 400, rng=torch.Generator().manual_seed(1))


def parts(bank: MatchedFilter, data: torch.Tensor) -> dict[str, torch.Tensor]:
    """Coefficients, best template, estimate, widths and signal-to-noise ratio by name."""
    d, start = len(PRIOR.names), bank.simulator.width
    names = {"best": 0, "estimate": d, "widths": 2 * d}
    found = {name: data[:, start + k : start + k + d] for name, k in names.items()}
    signal = data[:, bank.simulator.layout["signal"]].reshape(len(data), -1, 2).contiguous()
    return found | {"signal": torch.view_as_complex(signal), "snr": data[:, -1]}


def test_a_template_finds_itself(bank: MatchedFilter) -> None:
    theta = PRIOR.from_unit(torch.special.ndtr(bank.z.double()))
    clean = bank.simulator.signals(theta).to(torch.complex64)
    ones = torch.ones(len(theta), 2 * bank.simulator.summary)
    data = torch.cat([torch.view_as_real(clean).flatten(1), 0 * ones, ones], -1)
    found = parts(bank, bank.prepared(data))
    assert torch.allclose(found["snr"], clean.flatten(1).abs().square().sum(-1).sqrt(), rtol=1e-4)
    same = (found["best"] == bank.z).all(-1).float().mean()
    assert float(same) > 0.99
    # The prior pulls estimates towards its middle, by what is not measured; masses are.
    assert float((found["estimate"] - bank.z)[:, 0].abs().max()) < 0.2


def test_a_step_goes_from_the_template_to_the_signal(bank: MatchedFilter) -> None:
    rng = torch.Generator().manual_seed(2)
    theta, data = bank.draw(600, rng, fiducial=True)
    z, found = torch.special.ndtri(PRIOR.to_unit(theta)).float(), parts(bank, data)
    mass = [float((found[name] - z)[:, 0].abs().median()) for name in ("best", "estimate")]
    assert mass[1] < 0.7 * mass[0]
    # In units of the widths that linear theory claims: 0.67 at best.
    pull = ((found["estimate"] - z) / found["widths"].exp()).abs().median(0).values
    assert 0.4 < float(pull[0]) < 1.2


def test_data_do_not_depend_on_a_common_phase_and_keep_all_else(bank: MatchedFilter) -> None:
    _, data = bank.simulator.draw(50, torch.Generator().manual_seed(3), fiducial=True)
    signal = bank.simulator.layout["signal"]
    c = torch.view_as_complex(data[:, signal].reshape(50, -1, 2).contiguous())
    turned = data.clone()
    turned[:, signal] = torch.view_as_real(c * complex(math.cos(1.0), math.sin(1.0))).flatten(1)
    first, second = bank.prepared(data), bank.prepared(turned)
    assert torch.allclose(first, second, atol=2e-3)
    assert torch.allclose(parts(bank, first)["signal"].abs(), c.abs(), atol=1e-4)
    assert torch.equal(first[:, signal.stop : bank.simulator.width], data[:, signal.stop :])


def test_a_missing_detector_counts_for_nothing(bank: MatchedFilter) -> None:
    _, data = bank.draw(300, torch.Generator().manual_seed(4))
    assert data.shape == (300, bank.width) and data.isfinite().all()
    kept = data[:, bank.simulator.layout["kept"]].reshape(300, 2, -1).mean(-1)
    assert 0.2 < float((kept == 0).any(-1).float().mean()) < 0.95
    silent = data.clone()[:, : bank.simulator.width]
    silent[:, bank.simulator.layout["signal"]] = 0.0
    assert float(parts(bank, bank.prepared(silent))["snr"].abs().max()) == 0.0


def test_strains_become_the_data_of_draws(bank: MatchedFilter) -> None:
    theta = PRIOR.from_unit(torch.full((4,), 0.5, dtype=torch.float64))
    strain = inject(PRIOR.source(theta), TaylorF2(), bank.simulator.detectors, advanced_ligo(GRID), GRID)
    clean = bank.simulator.signals(theta[None]).flatten()
    found = parts(bank, bank.embed(strain)[None])
    loudness = float(clean.abs().square().sum().sqrt())
    assert torch.allclose(found["signal"][0].abs().double(), clean.abs(), atol=0.01 * loudness)
    assert float(found["snr"][0]) == pytest.approx(loudness, rel=0.05)


def test_a_known_phase_is_not_turned_away(bank: MatchedFilter) -> None:
    known = Prior(KNOWN | FREE | {"time": 3.0, "phase": 0.0})
    simulator = Simulator(TaylorF2(), [DETECTORS["H1"]], known, GRID, size=4)
    with pytest.raises(ValueError, match="must be integrated out"):
        MatchedFilter(simulator, 10, rng=torch.Generator())
