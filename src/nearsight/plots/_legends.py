"""Legends that cover no data: room is made above the curves where there is none beside them."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import Collection, PathCollection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import Bbox

MARGIN = 0.02
"""Free part of the height between a legend and the data below it."""


def clear_legends(figure: Figure) -> None:
    """Raise the upper limit of axes whose legend lies on data, and put it into the free band.

    The figure must have been laid out. A second call finds nothing to do.
    """
    for axes in figure.axes:
        legend = axes.get_legend()
        if legend is None or any(isinstance(c, QuadMesh) for c in axes.collections) or axes.images:
            continue
        box = legend.get_window_extent()
        frame = axes.get_window_extent()
        if not box.overlaps(frame) or not any(_meets(artist, axes, box) for artist in _data(axes)):
            continue
        part = min(0.8, (box.height + frame.y1 - min(box.y1, frame.y1)) / frame.height + MARGIN)
        if box.y0 < frame.y0 + 0.5 * frame.height:  # from the lower half, it goes to the top
            part = min(0.8, box.height / frame.height + 2 * MARGIN)
        scale = axes.yaxis.get_transform()
        low, high = scale.transform(np.array(axes.get_ylim()))
        high += (high - low) * part / (1 - part)
        axes.set_ylim(top=float(scale.inverted().transform(np.array([high]))[0]))
        right = 0.5 * (box.x0 + box.x1) > 0.5 * (frame.x0 + frame.x1)
        legend.set_loc("upper right" if right else "upper left")


def _data(axes: Axes) -> list[Artist]:
    """Curves, points, bands and bars; lines across the whole axes are guides."""
    curves = [line for line in axes.lines if line.get_transform().contains_branch(axes.transData)]
    guides = [line for line in curves if not _spans(line, axes)]
    return [artist for artist in (*guides, *axes.collections, *axes.patches) if artist.get_visible()]


def _spans(line: Line2D, axes: Axes) -> bool:
    return line.get_transform() in (axes.get_xaxis_transform(), axes.get_yaxis_transform())


def _meets(artist: Artist, axes: Axes, box: Bbox) -> bool:
    if isinstance(artist, Line2D):
        path = artist.get_transform().transform_path(artist.get_path())
        points = np.asarray(path.vertices)
        inside = bool(box.count_contains(points)) if len(points) else False
        joined = artist.get_linestyle() not in ("None", "", " ") and len(points) > 1
        return inside or (joined and bool(path.intersects_bbox(box, filled=False)))
    if isinstance(artist, PathCollection):
        offsets = artist.get_offset_transform().transform(artist.get_offsets())
        return bool(box.count_contains(offsets)) if len(offsets) else False
    if isinstance(artist, Collection):
        paths = [artist.get_transform().transform_path(path) for path in artist.get_paths()]
        filled = len(artist.get_facecolor()) > 0
        return any(len(np.asarray(p.vertices)) and p.intersects_bbox(box, filled=filled) for p in paths)
    if isinstance(artist, Patch):
        path = artist.get_transform().transform_path(artist.get_path())
        return bool(path.intersects_bbox(box, filled=True))
    return False
