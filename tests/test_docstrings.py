"""Examples in docstrings say what happens, and every class that a user constructs has one."""

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import nearsight

ROOT = Path(nearsight.__file__).parent
WITH_EXAMPLES = sorted(
    path for path in ROOT.rglob("*.py") if "\n    >>> " in (text := path.read_text()) or "\n>>> " in text
)

RESULTS = {
    "analysis": "AllenCahn Collapse Comparison ControlledMean Decay Departure DynamicalScaling Estimate GlassGrowth "
    "LinearLaw LocalityReport Path Plaquettes PowerLaw Response SizeLaw",
    "crystals": "PropertyData",
    "dynamics": "State Trajectory",
    "forcefields": "Estimate",
    "gravity": "Mixture Polarisations",
    "groups": "Irrep",
    "hamiltonians": "ClusterCoupling FieldError Neighbours Pairs",
    "inference": "Distilled EnergyErrors Examination LearnedCouplings Measured ReferenceSet Reweighted "
    "SelectedCouplings SymmetryTest",
    "lattices": "Bonds Edges Neighbourhood Patches Selection",
    "moves": "Attempts DiagonalisingWalk Ensembles ExactWalk Walk",
    "properties": "Prediction",
    "sampling": "Annealed AutocorrelationTime Batch DensityOfStates Reweighted Snapshots Thermodynamics",
    "solvers": "ChebyshevElectrons Choice DensityOfStates Drift Electrons ErrorBars FermiPoles MeanField ProbeSet "
    "Spectrum SteadyState TwoSiteUpdates",
    "training": "Identification Refinement Split",
}
"""What only functions return, by package: their docstrings name the function, whose example shows them."""
BASES = {"moves": "LearnedMoveEnergies"}
"""What is there to be inherited from, although nothing in it is marked as abstract."""


def public_classes():
    """Package and class of everything public that can be constructed, errors and warnings left out."""
    for package in sorted(info.name for info in pkgutil.iter_modules(nearsight.__path__) if info.ispkg):
        module = importlib.import_module(f"nearsight.{package}")
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            if not inspect.isclass(thing) or issubclass(thing, BaseException) or inspect.isabstract(thing):
                continue
            if thing.__module__.startswith("nearsight.") and not getattr(thing, "_is_protocol", False):
                yield package, thing


CLASSES = list(public_classes())


def listed(names, package):
    return names.get(package, "").split()


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_examples_print_what_they_say(path):
    name = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    found = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False
    )
    assert found.attempted and not found.failed


def test_every_class_that_a_user_constructs_has_an_example():
    without = [
        f"{package}.{thing.__name__}"
        for package, thing in CLASSES
        if ">>> " not in (thing.__doc__ or "")
        and thing.__name__ not in listed(RESULTS, package) + listed(BASES, package)
    ]
    assert not without


@pytest.mark.parametrize("package", sorted(RESULTS))
def test_results_say_which_function_returns_them(package):
    known = {thing.__name__: thing for where, thing in CLASSES if where == package}
    for name in listed(RESULTS, package):
        assert re.search(r":(func|meth|attr|class):`", known[name].__doc__), f"{name} does not say where it comes from"


@pytest.mark.parametrize("package", sorted(BASES))
def test_bases_are_still_there(package):
    assert {*listed(BASES, package)} <= {thing.__name__ for where, thing in CLASSES if where == package}
