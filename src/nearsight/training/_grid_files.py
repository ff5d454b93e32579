"""Arrays of OVF and legacy VTK files, which programs of micromagnetics and of visualisation write."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from nearsight.storage import CorruptFileError

CHECK = {4: 1234567.0, 8: 123456789012345.0}
"""The number before binary data of an OVF file, by its bytes: it tells the order of bytes and a file that is cut."""
OVF = (".ovf", ".omf", ".ohf")
"""How names of OVF files end."""
VTK_TYPES = {
    "float": "f4", "double": "f8", "int": "i4", "long": "i8", "short": "i2", "char": "i1", "vtktypeint64": "i8",
    "unsigned_char": "u1", "unsigned_short": "u2", "unsigned_int": "u4", "unsigned_long": "u8", "vtkidtype": "i8",
}  # fmt: skip


def read_ovf(file: Path) -> np.ndarray:
    """The vectors of an OVF file of version 1.0 or 2.0, text or binary ``(z, y, x, component)``.

    Several segments of one size are stacked before the other axes.
    """
    content = file.read_bytes()
    first = content.split(b"\n", 1)[0].decode("utf-8", "replace")
    if not re.match(r"#\s*OOMMF", first):
        raise CorruptFileError(f"{file} is no OVF file: it begins with {first[:40]!r}. Write it again.")
    version = 2 if "2.0" in first else 1
    header: dict[str, str] = {}
    found, position = [], 0
    while position < len(content):
        line, position = _line(content, position)
        if not line.startswith("#") or line.startswith("##"):
            continue
        key, _, value = line.lstrip("# ").partition(":")
        key, value = re.sub(r"[\s_]", "", key).lower(), value.strip()
        if key == "begin" and value.lower() == "header":
            header = {}
        elif key == "begin" and value.lower().startswith("data"):
            values, position = _ovf_data(content, position, value.lower().split()[1:], header, version, file)
            found.append(values)
        else:
            header[key] = value
    if not found:
        raise CorruptFileError(f"{file} holds no data block. Write it again.")
    if len({values.shape for values in found}) > 1:
        raise ValueError(f"{file} holds segments of several sizes; write each to a file of its own.")
    return np.stack(found) if len(found) > 1 else found[0]


def _line(content: bytes, position: int) -> tuple[str, int]:
    end = content.find(b"\n", position)
    end = len(content) if end < 0 else end
    return content[position:end].decode("utf-8", "replace").strip(), end + 1


def _ovf_data(
    content: bytes, position: int, kind: list[str], header: dict[str, str], version: int, file: Path
) -> tuple[np.ndarray, int]:
    """The values of one data block, and where it ends."""
    if header.get("meshtype", "rectangular").lower() != "rectangular":
        raise ValueError(f"{file} has an irregular mesh; write it on the rectangular grid of a lattice.")
    try:
        nodes = [int(header[f"{axis}nodes"]) for axis in "zyx"]
        size = int(header.get("valuedim", 3)) if version == 2 else 3
        factor = float(header.get("valuemultiplier", 1.0)) if version == 1 else 1.0
    except (KeyError, ValueError) as error:
        raise CorruptFileError(f"{file}: the header gives no number for {error}. Write it again.") from error
    count = math.prod(nodes) * size
    if kind == ["text"]:
        end = content.find(b"#", position)
        end = len(content) if end < 0 else end
        values = _numbers(content[position:end], file)
    elif kind[:1] == ["binary"] and kind[1:] in (["4"], ["8"]):
        width = int(kind[1])
        dtype, end = np.dtype(f"{'<' if version == 2 else '>'}f{width}"), position + width * (count + 1)
        raw = np.frombuffer(content[position : min(end, len(content))][: width * (count + 1)] or b"", np.uint8)
        values = raw[: len(raw) // width * width].view(dtype).astype(float)
        if len(values) and values[0] != CHECK[width]:
            raise CorruptFileError(
                f"{file}: binary data begin with {values[0]:.6g} instead of {CHECK[width]:.0f}; the order of bytes is "
                f"not that of OVF {version}.0, or the file is cut. Write it again."
            )
        values = values[1:]
    else:
        raise CorruptFileError(f"{file}: data are Text, Binary 4 or Binary 8, not {' '.join(kind)!r}.")
    if len(values) != count:
        raise CorruptFileError(f"{file}: the header promises {count} numbers, there are {len(values)}. Write it again.")
    return factor * values.reshape(*nodes, size), end


def _numbers(text: bytes, file: Path) -> np.ndarray:
    try:
        return np.array(text.split(), dtype=float)
    except ValueError as error:
        raise CorruptFileError(f"{file} has words where numbers should stand ({error}). Write it again.") from error


def read_vtk(file: Path) -> dict[str, np.ndarray]:
    """The arrays of a legacy VTK file, ASCII or binary, by name.

    On structured points and grids ``(z, y, x)``, elsewhere ``(point,)``, followed by the components of vectors.
    """
    return _VTK(file).arrays


class _VTK:
    """A reader of the keywords of a legacy VTK file, one after another."""

    def __init__(self, file: Path) -> None:
        self.file, self.content, self.position = file, file.read_bytes(), 0
        head = [self._next_line() for _ in range(3)]
        if not head[0].startswith("# vtk DataFile") or head[2].upper() not in ("ASCII", "BINARY"):
            hint = "; XML files (.vti, .vtu) are not read, write the legacy format" if "<" in head[0] else ""
            raise CorruptFileError(f"{file} is no legacy VTK file: it begins with {head[0][:40]!r}{hint}.")
        self.binary = head[2].upper() == "BINARY"
        self.nodes: list[int] = []
        self.count = 0
        self.shape: tuple[int, ...] = (0,)
        self.arrays: dict[str, np.ndarray] = {}
        while self.position < len(self.content):
            words = self._next_line().split()
            if words:
                self._keyword(words[0].upper(), words[1:])

    def _next_line(self) -> str:
        text, self.position = _line(self.content, self.position)
        return text

    def _keyword(self, keyword: str, words: list[str]) -> None:
        try:
            if keyword == "DIMENSIONS":
                self.nodes = [int(n) for n in words]
            elif keyword in ("POINTS", "X_COORDINATES", "Y_COORDINATES", "Z_COORDINATES"):
                self._values(words[1], int(words[0]) * (3 if keyword == "POINTS" else 1))
            elif keyword in ("VERTICES", "LINES", "POLYGONS", "TRIANGLE_STRIPS", "CELLS"):
                self._cells(int(words[0]), int(words[1]))
            elif keyword == "CELL_TYPES":
                self._values("int", int(words[0]))
            elif keyword in ("POINT_DATA", "CELL_DATA"):
                self._begin(keyword, int(words[0]))
            elif keyword in ("VECTORS", "NORMALS"):
                self._keep(words[0], self._values(words[1], 3 * self.count), 3)
            elif keyword == "SCALARS":
                components = int(words[2]) if len(words) > 2 else 1
                before = self.position
                if not self._next_line().upper().startswith("LOOKUP_TABLE"):
                    self.position = before
                self._keep(words[0], self._values(words[1], components * self.count), components)
            elif keyword == "FIELD":
                for _ in range(int(words[1])):
                    self._field()
            elif keyword == "METADATA":  # up to an empty line
                while self.position < len(self.content) and self._next_line():
                    pass
            elif keyword not in ("DATASET", "ORIGIN", "SPACING", "ASPECT_RATIO"):
                raise ValueError(f"the keyword {keyword[:20]!r} is not known")
        except (ValueError, IndexError, KeyError) as error:
            if isinstance(error, CorruptFileError):
                raise
            raise CorruptFileError(f"{self.file}: {keyword[:20]}: {error}. Write it again.") from error

    def _begin(self, keyword: str, count: int) -> None:
        """Data follow, at points or in the cells between them."""
        grid = [n if keyword == "POINT_DATA" else max(n - 1, 1) for n in self.nodes[::-1]]
        self.count, self.shape = count, tuple(grid) if math.prod(grid) == count and grid else (count,)

    def _field(self) -> None:
        words = self._next_line().split() or self._next_line().split()
        components, count = int(words[1]), int(words[2])
        values = self._values(words[3], components * count)
        if count == self.count and self.count:
            self._keep(words[0], values, components)
        else:  # of the whole file
            self.arrays[words[0]] = values

    def _cells(self, n: int, size: int) -> None:
        before = self.position
        words = self._next_line().split()
        if words[:1] != ["OFFSETS"]:
            self.position = before
            self._values("int", size)
            return
        self._values(words[1], n)
        words = self._next_line().split() or self._next_line().split()
        self._values(words[1], size)

    def _values(self, kind: str, count: int) -> np.ndarray:
        dtype = np.dtype(">" + VTK_TYPES[kind.lower()])
        if self.binary:
            end = self.position + count * dtype.itemsize
            if end > len(self.content):
                raise ValueError(f"{count} numbers of type {kind} should follow, and the file ends")
            values = np.frombuffer(self.content, dtype, count, self.position)
            self.position = end
            return values.astype(dtype.newbyteorder("="))
        words = re.compile(rb"\S+").finditer(self.content, self.position)
        found = []
        for _, word in zip(range(count), words, strict=False):
            found.append(word.group())
            self.position = word.end()
        if len(found) < count:
            raise ValueError(f"{count} numbers should follow, and the file ends after {len(found)}")
        return np.array(found, dtype=float)

    def _keep(self, name: str, values: np.ndarray, components: int) -> None:
        self.arrays[name] = values.reshape(*self.shape, *((components,) if components > 1 else ()))
