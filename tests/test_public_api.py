"""The door of the library: lazy, complete, and explained."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import nearsight as ns

PACKAGES = [f"nearsight.{info.name}" for info in pkgutil.iter_modules(ns.__path__) if info.ispkg]


def test_import_loads_nothing_until_a_name_is_used():
    code = (
        "import sys, nearsight as ns\n"
        "heavy = ('torch', 'numpy', 'scipy.sparse', 'scipy.optimize', 'matplotlib', 'dask', 'zarr', 'xarray', 'zuko')\n"
        "print([m for m in heavy if m in sys.modules])\n"
        "print(ns.lattices.square(3))\n"
        "exact = ns.ExactForceField(ns.hamiltonians.Holstein(ns.lattices.square(3)), ns.solvers.Dense(mu=0, kT=1))\n"
        "print([m for m in heavy[2:] if m in sys.modules])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["[]", "square, 3 × 3 sites, periodic", "[]"]


@pytest.mark.parametrize("name", ns.__all__)
def test_every_promised_name_is_there(name):
    assert getattr(ns, name) is not None
    assert name in dir(ns)


def test_every_subpackage_is_promised():
    assert {p.removeprefix("nearsight.") for p in PACKAGES} - {"cli"} <= set(ns.__all__)


def test_an_unknown_name_is_an_attribute_error_that_lists_what_there_is():
    with pytest.raises(AttributeError, match=r"no attribute 'lattice'; it has .*lattices"):
        _ = ns.lattice


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(ns.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen | {"__version__"} == set(ns.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist_and_are_explained(package):
    module = importlib.import_module(package)
    assert module.__doc__, f"{package} has no docstring"
    names = module.__all__
    assert sorted(set(names)) == sorted(names)
    for name in names:
        thing = getattr(module, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            # A dataclass without a docstring is given its own signature as one.
            doc = thing.__doc__ or ""
            assert len(doc) > 20 and not doc.startswith(f"{name}("), f"{package}.{name} has no docstring"


@pytest.mark.parametrize("package", PACKAGES)
def test_public_methods_are_explained(package):
    module = importlib.import_module(package)
    for name in module.__all__:
        thing = getattr(module, name)
        if not inspect.isclass(thing):
            continue
        for attribute, value in vars(thing).items():
            if attribute.startswith("_") or not inspect.isfunction(value) or value.__module__ != thing.__module__:
                continue
            # An override may leave the explanation to its base.
            assert inspect.getdoc(getattr(thing, attribute)), f"{package}.{name}.{attribute} has no docstring"
