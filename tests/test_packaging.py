"""What the package imports is what it declares, the lock file obeys both, and the doctor notices what is missing."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from nearsight.cli import _doctor as doctor

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = dict(
    line.split("==")
    for name in ("requirements.lock", "requirements-dev.lock")
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
    if "==" in line and not line.startswith("#")
)
INSTALLED = importlib.metadata.packages_distributions()
THROUGH_ANOTHER = {"h5netcdf", "h5py"}
"""Packages that xarray imports on our behalf when observables.nc is written."""


def distributions(module: str) -> set[str]:
    """The packages that a top-level module may come from, by their normalised names."""
    return {canonicalize_name(name) for name in INSTALLED.get(module, [module])}


def imports(path: Path) -> set[str]:
    """Top-level modules that a file imports, at its head or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).split(".")[0])
    return found - set(sys.stdlib_module_names) - {"nearsight", "__future__"}


def declared(*extras: str) -> dict[str, Requirement]:
    texts = [*PROJECT["dependencies"], *(t for extra in extras for t in PROJECT["optional-dependencies"][extra])]
    found = {canonicalize_name(r.name): r for r in map(Requirement, texts)}
    return {name: requirement for name, requirement in found.items() if name != "nearsight"}  # an extra names others


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "src")))
def test_every_import_is_declared(path):
    known = set(declared("tensorboard", "slurm", "cluster", "gw", "crystals"))
    assert not [module for module in imports(path) if not distributions(module) & known]


def test_every_declared_package_is_used():
    used = {name for path in SOURCES for module in imports(path) for name in distributions(module)} | THROUGH_ANOTHER
    assert set(declared()) <= used


def test_the_lock_file_obeys_what_is_declared():
    locked = {canonicalize_name(name): version for name, version in LOCK.items()}
    for name, requirement in declared("test", "docs", "slurm", "cluster", "gw", "crystals").items():
        assert requirement.specifier.contains(locked[name]), f"{requirement} and {name}=={locked[name]}"


def test_torch_is_pinned_in_the_lock_file_and_not_in_the_library():
    assert "torch" in LOCK
    assert not re.search("==|<|~=", str(declared()["torch"].specifier))


def test_the_page_on_dependencies_names_each_of_them():
    rows = re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE)
    words = {name for row in rows for cell in row for name in re.findall(r"`([\w-]+)`", cell)}
    extras = set(PROJECT["optional-dependencies"]) - {"test", "docs", "dev"}
    assert set(declared(*extras)) | extras <= words


def test_the_conda_recipe_asks_for_the_same_packages_at_the_same_version():
    from nearsight import __version__

    recipe = yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text(encoding="utf-8"))
    there = {"pytorch": "torch", "matplotlib-base": "matplotlib"}
    asked = {Requirement(line.replace(" ", "", 1)) for line in recipe["requirements"]["run"]}
    asked = {Requirement(f"{there.get(r.name, r.name)}{r.specifier}") for r in asked}
    assert asked == {Requirement(f"python{PROJECT['requires-python']}"), *map(Requirement, PROJECT["dependencies"])}
    assert recipe["context"]["version"] == __version__


def test_the_doctor_asks_for_what_is_declared():
    asked = {canonicalize_name(r.name): str(r.specifier) for r in doctor.requirements()}
    assert asked == {name: str(r.specifier) for name, r in declared().items()}


@pytest.mark.parametrize(
    ("requirement", "fault"),
    [
        ("nearsight-needs-this>=1", "MISSING: pip install 'nearsight-needs-this>=1'"),
        ("torch>=999", "TOO OLD"),
        ("pytest_benchmark>=0.0", "BROKEN .*No module named"),
    ],
)
def test_the_doctor_names_the_fault_and_the_cure(requirement, fault, monkeypatch):
    monkeypatch.setitem(doctor.MODULES, "pytest_benchmark", "pytest_benchmark_is_broken")
    assert re.match(fault, doctor.what_is_wrong(Requirement(requirement)))
    assert doctor.what_is_wrong(Requirement("pyyaml>=6")) is None


def test_the_doctor_of_an_unsound_installation_fails(monkeypatch):
    from typer.testing import CliRunner

    from nearsight.cli.app import app

    monkeypatch.setattr(doctor, "requirements", lambda: [Requirement("nearsight-needs-this>=1")])
    monkeypatch.setattr(doctor, "diagonalisation", lambda: 0.0)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "MISSING" in result.output and "NOT SOUND" in result.output
