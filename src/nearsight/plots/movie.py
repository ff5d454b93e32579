"""Fields of the plane in motion."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from nearsight._validation import number
from nearsight.lattices import Lattice
from nearsight.plots.maps import checked_rows, colours, draw_rows
from nearsight.plots.style import STYLE
from nearsight.storage import write_atomic

DOTS = 120
"""Per inch: a movie of one field is some 450 pixels wide."""


def animate(
    fields: xr.DataArray | Sequence[xr.DataArray],
    lattice: Lattice,
    path: str | Path,
    *,
    times: Sequence[float] | None = None,
    window: int | None = None,
    arrows: bool | None = None,
    rate: float = 12.0,
) -> Path:
    """A movie of fields of a plane lattice, one frame for every time, all in the same colours; returns its path.

    Parameters
    ----------
    fields, lattice, times, window, arrows: as of :func:`~nearsight.plots.maps`; several fields stand below each other.
    path: ``.mp4``, which needs the program ffmpeg, or ``.gif``, which does not; without an ending, .mp4 where ffmpeg
        is found and .gif elsewhere. Written as a whole or not at all.
    rate: frames per second.

    Cost: some 0.1 s a frame, more for many sites.

    >>> import numpy as np, xarray as xr, nearsight as ns
    >>> wave = np.sin(np.arange(6)[:, None] + np.arange(16))
    >>> field = xr.DataArray(wave, dims=("time", "site"), coords={"time": np.arange(6.0)}, name="Q")
    >>> ns.plots.animate(field, ns.lattices.square(4), "wave.gif").name  # doctest: +SKIP
    'wave.gif'
    """
    rows, shown, arrows = checked_rows(fields, lattice, times, window, arrows)
    frames, rate = len(rows[0]), number(rate, "rate", above=0)
    if any(len(row) != frames for row in rows):
        raise ValueError(f"All fields of a movie need the same times, got {[len(row) for row in rows]} of them.")
    target = _target(Path(path))
    palettes = [colours(row) for row in rows]

    def images() -> Iterator[np.ndarray]:
        for k in range(frames):
            with matplotlib.rc_context(STYLE):
                figure = draw_rows([row[k : k + 1] for row in rows], palettes, lattice, shown, arrows)
                figure.set_dpi(DOTS)
                canvas = FigureCanvasAgg(figure)
                figure.draw_without_rendering()  # the layout needs the labels of a first pass
                canvas.draw()
            pixels = np.asarray(canvas.buffer_rgba())[..., :3]
            yield np.ascontiguousarray(pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2])

    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, (_gif if target.suffix == ".gif" else _mp4)(images(), rate))
    return target


def _target(path: Path) -> Path:
    ffmpeg = shutil.which("ffmpeg") is not None
    if not path.suffix:
        return path.with_suffix(".mp4" if ffmpeg else ".gif")
    if path.suffix not in (".mp4", ".gif"):
        raise ValueError(f"A movie ends with .mp4 or .gif, got {path.name!r}.")
    if path.suffix == ".mp4" and not ffmpeg:
        raise ValueError("The program ffmpeg, which writes .mp4, was not found; install it, or choose a name in .gif.")
    return path


def _gif(images: Iterator[np.ndarray], rate: float) -> bytes:
    first, *others = (Image.fromarray(image).quantize(128) for image in images)
    buffer = io.BytesIO()
    first.save(buffer, "gif", save_all=True, append_images=others, duration=round(1000 / rate), loop=0)
    return buffer.getvalue()


def _mp4(images: Iterator[np.ndarray], rate: float) -> bytes:
    first = next(images)
    size = f"{first.shape[1]}x{first.shape[0]}"
    into = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", f"{rate:g}", "-i", "-"]
    out = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said:
        file = Path(folder) / "movie.mp4"
        command = ["ffmpeg", "-loglevel", "error", *into, *out, str(file)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said) as process:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # ffmpeg says why when it has ended
                for image in (first, *images):
                    process.stdin.write(image.tobytes())
                process.stdin.close()
        if process.returncode:
            said.seek(0)
            words = said.read().decode(errors="replace").strip() or "it gave no reason"
            raise RuntimeError(f"ffmpeg could not write the movie: {words}. A name in .gif needs no ffmpeg.")
        return file.read_bytes()
