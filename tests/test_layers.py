"""The house holds: every module imports only from layers below its own, and siblings never meet."""

import ast
from pathlib import Path

import pytest

import nearsight

ROOT = Path(nearsight.__file__).parent

# Bottom to top; names in one tuple are siblings.
LAYERS = (
    ("storage",),
    ("parallel",),
    ("groups",),
    ("lattices",),
    ("fields",),
    ("hamiltonians", "solvers"),
    ("descriptors", "networks"),
    ("forcefields",),
    ("moves", "properties"),
    ("reproductions",),
    ("dynamics",),
    ("sampling",),
    ("analysis",),
    ("training",),
    ("inference", "gravity", "crystals"),
    ("plots",),
    ("studies",),
    ("cli",),
)
HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}
MODULES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT)


def layer(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(source: str, package: str) -> set[str]:
    """Layers of nearsight that a module uses, at its head or inside a function, by full, relative or lazy name.

    ``package`` is the dotted name of the package the module lies in, against which relative imports are resolved.
    """
    found: set[str] = set()
    tree = ast.parse(source)
    doors = {"nearsight"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            doors |= {alias.asname for alias in node.names if alias.name == "nearsight" and alias.asname}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{stem}.{alias.name}" for alias in node.names]
        else:
            continue
        parts = [name.split(".") for name in names]
        found |= {p[1] for p in parts if p[0] == "nearsight" and len(p) > 1 and p[1] in HEIGHT}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in doors:
            found |= {node.attr} & set(HEIGHT)
    return found


def package(path: Path) -> str:
    return ".".join(("nearsight", *path.relative_to(ROOT).parent.parts))


def test_every_module_belongs_to_a_layer():
    assert {layer(path) for path in MODULES} <= set(HEIGHT)
    assert {path.name for path in ROOT.glob("*.py")} <= {
        "__init__.py",
        "__main__.py",
        "_machine.py",
        "_description.py",
        "_multilinear.py",
        "_validation.py",
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downward(path):
    own = layer(path)
    used = imported(path.read_text(encoding="utf-8"), package(path)) - {own}
    above = {name for name in used if HEIGHT[name] >= HEIGHT[own]}
    assert not above, f"{own} imports {', '.join(sorted(above))}, which stands beside or above it"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import nearsight.dynamics.langevin", {"dynamics"}),
        ("from nearsight import solvers", {"solvers"}),
        ("from nearsight.solvers.dense import Dense", {"solvers"}),
        ("from ..training import fit", {"training"}),
        ("from .. import plots", {"plots"}),
        ("from . import langevin", {"dynamics"}),
        ("def f():\n    from nearsight.cli import main", {"cli"}),
        ("import nearsight\nversion = nearsight.__version__", set()),
        ("import nearsight as ns\nns.analysis.structure_factor", {"analysis"}),
        ("import numpy, nearsightless.cli", set()),
    ],
    ids=repr,
)
def test_the_reader_of_imports_misses_none(source, found):
    assert imported(source, "nearsight.dynamics") == found
