"""Examples, tutorial and README run: the very text a reader sees, made small by replacements that stand in the text.

A comment ``<!-- test: square(30) -> square(6); steps=2000 -> steps=4 -->`` before a Python block (``# test: ...`` in a
script) shrinks it; every replacement must apply, so that the comment cannot go stale. All blocks of a document share
one namespace. ``<!-- not run: reason -->`` is the only way out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if "```python" in path.read_text()
]
SCRIPTS = sorted((ROOT / "examples").glob("[0-9]*.py"))

BLOCK = re.compile(r"(?:<!-- (?P<note>[^\n]*) -->\n)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    code: str
    line: int
    note: str

    @property
    def runs(self) -> bool:
        return not self.note.startswith("not run: ")

    @property
    def small(self) -> str:
        """The code as tested, at the line number where it stands in the file."""
        return "\n" * (self.line - 1) + shrink(self.code, self.note)


def blocks(text: str) -> list[Block]:
    found = []
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        found.append(Block(match["code"], line, match["note"] or ""))
    return found


def shrink(code: str, note: str) -> str:
    if not note.startswith("test: "):
        return code
    for rule in note.removeprefix("test: ").split("; "):
        large, small = rule.split(" -> ")
        assert large in code, f"the replacement {rule!r} no longer applies"
        code = code.replace(large, small)
    return code


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty working directory, and pictures that go to files only."""
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    return tmp_path


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_of_the_documents_runs(path, elsewhere):
    namespace = {"__name__": "document"}
    for block in blocks(path.read_text(encoding="utf-8")):
        if block.runs:
            exec(compile(block.small, str(path), "exec"), namespace)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_examples_run(path, elsewhere):
    source = path.read_text(encoding="utf-8")
    rules = re.findall(r"^# test: (.*)$", source, re.MULTILINE)
    body = re.sub(r"^# test: .*$", "#", source, flags=re.MULTILINE)
    code = shrink(body, f"test: {'; '.join(rules)}") if rules else body
    exec(compile(code, str(path), "exec"), {"__name__": "__main__"})


def test_stale_replacements_are_noticed():
    text = "<!-- test: square(30) -> square(4) -->\n```python\nsquare(30)\n```\n\n```python\nx\n```\n"
    first, second = blocks(text)
    assert (first.small.strip(), first.line, second.note) == ("square(4)", 3, "")
    with pytest.raises(AssertionError, match="no longer applies"):
        shrink("square(8)", "test: square(30) -> square(4)")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_examples_are_notebooks(path):
    """`make notebooks` cuts scripts where their marks are: the question first, and cells that are whole statements."""
    jupytext = pytest.importorskip("jupytext")
    cells = jupytext.read(path).cells
    assert [cell.cell_type for cell in cells[:2]] == ["markdown", "code"]
    assert len(cells[0].source.split()) > 20 and '"""' not in cells[0].source
    for cell in cells:
        if cell.cell_type == "code":
            compile(cell.source, str(path), "exec")
