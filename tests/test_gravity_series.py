"""Files of strain in the published formats, made here, and the way from time to frequency."""

import gzip
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from scipy import signal

from nearsight.gravity import (
    DETECTORS,
    TaylorF2,
    TimeSeries,
    advanced_ligo,
    estimate_asd,
    frequency_grid,
    from_series,
    inject,
    load_series,
)

RATE, SECONDS, START = 2048.0, 64, 1126259440.0
VALUES = {"chirp_mass": 12.0, "mass_ratio": 0.6, "chi_1": 0.1, "chi_2": 0.0, "distance": 300.0, "inclination": 0.4}
VALUES |= {"phase": 0.3, "ra": 1.0, "dec": -0.5, "psi": 0.2, "time": 7.0}
SOURCE = {name: torch.tensor(value, dtype=torch.float64) for name, value in VALUES.items()}
F = frequency_grid(25.0, 500.0, duration=8.0)


def coloured(seed: int, seconds: float = SECONDS) -> np.ndarray:
    """Noise of the Advanced LIGO design above 20 Hz, in time: filtered white noise."""
    n = int(seconds * RATE)
    f = np.fft.rfftfreq(n, 1 / RATE)
    asd = np.zeros(len(f))
    asd[f >= 20] = advanced_ligo(torch.from_numpy(f[f >= 20])).numpy()
    white = np.fft.rfft(np.random.default_rng(seed).normal(size=n)) * np.sqrt(RATE / 2)
    return np.fft.irfft(white * asd, n)


def in_time(gps: float) -> np.ndarray:
    """The signal of SOURCE in H1, eight seconds from GPS time ``gps``."""
    full = frequency_grid(21.0, RATE / 2 - 1, 8.0)
    spectrum = np.zeros(int(8 * RATE) // 2 + 1, dtype=complex)
    strain = inject(SOURCE, TaylorF2(), [DETECTORS["H1"]], advanced_ligo(full), full, gps=gps)
    spectrum[np.rint(full.numpy() * 8).astype(int)] = strain.data[0].numpy()
    return np.fft.irfft(spectrum) * RATE


def write_hdf5(path: Path, values: np.ndarray, detector: str = "H1") -> None:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("strain/Strain", data=values)
        data.attrs["Xspacing"], data.attrs["Xstart"] = 1 / RATE, START
        file["meta/Detector"], file["meta/GPSstart"] = detector, START


def write_text(path: Path, values: np.ndarray) -> None:
    head = "# Gravitational wave strain for a test for H1\n# This file has 2048 samples per second\n"
    head += f"# starting GPS {START:.0f} duration {len(values) / RATE:.0f}\n"
    text = head + "".join(f"{value:.17g}\n" for value in values)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def test_files_hold_what_was_written(tmp_path: Path) -> None:
    values = coloured(1, 4)
    write_hdf5(tmp_path / "h.hdf5", values)
    write_text(tmp_path / "h.txt", values)
    write_text(tmp_path / "h.txt.gz", values)
    for name in ("h.hdf5", "h.txt", "h.txt.gz"):
        series = load_series(tmp_path / name)
        assert (series.rate, series.gps, series.detector) == (RATE, START, "H1")
        np.testing.assert_array_equal(series.values, values)
    with pytest.raises(ValueError, match="holds data of H1, not of L1"):
        load_series(tmp_path / "h.txt", "L1")
    (tmp_path / "bad.txt").write_text("1.0\n2.0\n")
    with pytest.raises(ValueError, match="does not say its rate"):
        load_series(tmp_path / "bad.txt")
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(ValueError, match="no data set"):
        load_series(tmp_path / "bad.h5")


def test_a_signal_in_time_is_the_signal_in_frequency() -> None:
    values = np.zeros(int(16 * RATE))
    begin = int(3 * RATE)
    values[begin : begin + int(8 * RATE)] = in_time(START + 3)
    strain = from_series([TimeSeries(values, RATE, START, "H1")], F, START + 3, advanced_ligo(F))
    wanted = inject(SOURCE, TaylorF2(), [DETECTORS["H1"]], advanced_ligo(F), F, gps=START + 3)
    assert strain.gps == START + 3 and strain.duration == pytest.approx(8.0)
    lost = (strain.whitened - wanted.whitened).abs().square().sum() / wanted.whitened.abs().square().sum()
    assert float(lost) < 1e-3


def test_noise_is_white_with_the_curve_it_has() -> None:
    series = TimeSeries(coloured(2), RATE, START, "L1")
    estimated = estimate_asd(series, F)
    error = torch.log(estimated / advanced_ligo(F))
    assert abs(float(error.mean())) < 0.02 and float(error.std()) < 1.3 * 0.7 / 31**0.5
    strain = from_series([series], F, START + 20)
    parts = torch.view_as_real(strain.whitened).flatten()
    assert float(parts.square().mean()) == pytest.approx(1.0, abs=0.1)
    again = signal.welch(series.values, RATE, nperseg=int(4 * RATE), average="median")
    there = np.interp(F.numpy(), again[0], np.sqrt(again[1]))
    assert abs(float(np.log(there / estimated.numpy()).mean())) < 0.01


def test_gaps_and_short_data_are_refused() -> None:
    values = coloured(3)
    series = TimeSeries(values, RATE, START, "H1")
    with pytest.raises(ValueError, match="later start or a shorter duration"):
        from_series([series], F, START + SECONDS - 5)
    values[int(30 * RATE)] = np.nan
    with pytest.raises(ValueError, match=r"no data at GPS 1126259470\.000"):
        from_series([series], F, START + 25)
    assert estimate_asd(series, F).isfinite().all()
    with pytest.raises(ValueError, match="end at 1024 Hz"):
        from_series(
            [series], frequency_grid(25.0, 1500.0, 8.0), START, advanced_ligo(frequency_grid(25.0, 1500.0, 8.0))
        )
    with pytest.raises(ValueError, match="four are needed"):
        estimate_asd(series, F, seconds=30.0)
