"""Movies: as many frames as times, one scale of colours, whole files, and what a machine without ffmpeg is told."""

import itertools
import shutil
import subprocess

import numpy as np
import pytest
import xarray as xr
from PIL import Image, ImageSequence

from nearsight import plots
from nearsight.lattices import honeycomb, square

TIMES = np.array([0.0, 1.0, 2.0, 4.0])


def field(amplitude=1.0, n=6, name="Q") -> xr.DataArray:
    """A stripe that moves by a site a frame, ever stronger."""
    x = np.arange(n)
    values = [amplitude * (k + 1) * np.cos(2 * np.pi * (x - k) / n)[:, None] * np.ones(n) for k in range(len(TIMES))]
    return xr.DataArray(np.stack(values), dims=("time", "x", "y"), coords={"time": TIMES}, name=name)


def frames(path) -> list[np.ndarray]:
    with Image.open(path) as movie:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(movie)]


def test_a_gif_holds_every_time_in_one_scale_of_colours(tmp_path):
    found = frames(plots.animate(field(), square(6), tmp_path / "new" / "wave.gif", rate=10))
    assert len(found) == len(TIMES) and len({f.shape for f in found}) == 1

    def saturation(image: np.ndarray) -> float:  # of the map alone: the colour bar is the same in all
        part = image[:, : image.shape[1] // 2].astype(float)
        return float((part.max(-1) - part.min(-1)).mean())

    assert saturation(found[0]) < 0.6 * saturation(found[-1])  # a scale for each frame would hide that it grows
    assert all((a != b).any() for a, b in itertools.pairwise(found))


def test_several_fields_and_lattices_with_a_basis(tmp_path):
    lattice = honeycomb(3)
    spins = np.random.default_rng(1).standard_normal((2, lattice.n_sites, 3))
    spins /= np.linalg.norm(spins, axis=-1, keepdims=True)
    given = [
        xr.DataArray(spins, dims=("time", "site", "component"), coords={"time": [1.0, 2.0]}, name="S"),
        xr.DataArray(spins[..., 0], dims=("time", "site"), coords={"time": [1.0, 2.0]}, name="Sx"),
    ]
    both = frames(plots.animate(given, lattice, tmp_path / "both.gif"))
    one = frames(plots.animate(given[1], lattice, tmp_path / "one.gif", times=[2.0]))
    assert len(both) == 2 and len(one) == 1 and both[0].shape[0] > 1.4 * one[0].shape[0]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_an_mp4_holds_every_time(tmp_path):
    path = plots.animate(field(), square(6), tmp_path / "wave.mp4")
    told = ["ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", path]
    assert int(subprocess.run(told, capture_output=True, text=True, check=True).stdout.strip(",\n ")) == len(TIMES)
    assert [file.name for file in tmp_path.iterdir()] == ["wave.mp4"]


def test_without_ffmpeg_a_gif_is_written_or_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert plots.animate(field(), square(6), tmp_path / "wave").suffix == ".gif"
    with pytest.raises(ValueError, match=r"ffmpeg.*\.gif"):
        plots.animate(field(), square(6), tmp_path / "wave.mp4")
    assert [file.name for file in tmp_path.iterdir()] == ["wave.gif"]


@pytest.mark.parametrize(
    ("options", "cure"),
    [
        ({"path": "wave.avi"}, r"\.mp4 or \.gif"),
        ({"rate": 0}, "rate"),
        ({"lattice": square(5)}, "5 × 5"),
        ({"fields": [field(), field().isel(time=[0])]}, "same times"),
        ({"fields": []}, "nothing to draw"),
    ],
)
def test_what_makes_no_movie_is_refused_and_leaves_nothing(tmp_path, options, cure):
    given = {"fields": field(), "lattice": square(6), "path": "wave.gif"} | options
    given["path"] = tmp_path / given["path"]
    with pytest.raises(ValueError, match=cure):
        plots.animate(**given)
    assert not list(tmp_path.iterdir())
