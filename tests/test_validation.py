"""The checks at the door take every honest number and refuse, in words, what only looks like one."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from nearsight import _validation as v


@pytest.mark.parametrize("value", [4, np.int64(4), np.array(4), torch.tensor(4), np.uint8(4)], ids=repr)
def test_whole_numbers_of_every_library_are_the_same_number(value):
    whole = v.integer(value, "steps", least=1)
    assert whole == 4 and type(whole) is int


@pytest.mark.parametrize("value", [4.0, "4", None, True, np.bool_(True), np.float64(4), (4,), torch.tensor([4]), int])
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(TypeError, match="steps must be a whole number ≥ 1"):
        v.integer(value, "steps", least=1)


@pytest.mark.parametrize("value", [0, -3, np.int64(0)])
def test_whole_numbers_out_of_range_are_refused(value):
    with pytest.raises(ValueError, match="whole number ≥ 1 and ≤ 9, got"):
        v.integer(value, "steps", least=1, most=9)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.array(0.5), torch.tensor(0.5), Fraction(1, 2)], ids=repr)
def test_real_numbers_of_every_library_are_the_same_number(value):
    real = v.number(value, "kT", least=0)
    assert real == 0.5 and type(real) is float


@pytest.mark.parametrize("value", ["0.5", None, True, 0.5j, np.complex64(1), [0.5], torch.zeros(2), float], ids=repr)
def test_what_is_no_real_number_is_refused(value):
    with pytest.raises(TypeError, match="kT must be a finite real number ≥ 0"):
        v.number(value, "kT", least=0)


@pytest.mark.parametrize(
    ("value", "bounds"),
    [
        (float("nan"), {}),
        (float("inf"), {}),
        (-1, {"least": 0}),
        (0, {"above": 0}),
        (1, {"below": 1}),
        (2, {"most": 1}),
    ],
)
def test_real_numbers_out_of_range_are_refused(value, bounds):
    with pytest.raises(ValueError, match="must be a finite real number"):
        v.number(value, "x", **bounds)
    assert v.number(float("inf"), "x", finite=False) == float("inf")


def test_several_numbers_are_counted_and_each_named():
    assert v.numbers(np.array([1, 2.5]), "twist", length=2) == (1.0, 2.5)
    with pytest.raises(ValueError, match="twist must hold 2 real numbers, got 1"):
        v.numbers([1], "twist", length=2)
    with pytest.raises(TypeError, match="twist must hold 2 real numbers"):
        v.numbers(0.3, "twist", length=2)
    with pytest.raises(ValueError, match=r"twist\[1\]"):
        v.numbers([0, float("nan")], "twist")


def test_truth_is_not_guessed():
    assert v.boolean(np.bool_(False), "periodic") is False
    for value in ("no", 1, 0, None):
        with pytest.raises(TypeError, match="periodic must be True or False"):
            v.boolean(value, "periodic")


def test_a_path_is_text_or_a_path():
    assert v.filename("a/b", "path") == Path("a/b") == v.filename(Path("a/b"), "path")
    for wrong in (None, 3, "", b"a", str, ["a"]):
        with pytest.raises(TypeError, match="path must be the path of a file or folder, got"):
            v.filename(wrong, "path")


def test_a_misspelt_choice_is_answered_by_the_nearest():
    assert v.choice("tangent", "component", ("all", "tangent")) == "tangent"
    with pytest.raises(ValueError, match="Did you mean 'tangent'"):
        v.choice("tangnet", "component", ("all", "tangent"))
    with pytest.raises(TypeError, match="must be one of 1, 2, got True"):
        v.choice(True, "spins", (1, 2))


def test_a_class_is_no_instance():
    assert v.instance(3, int, "n") == 3
    with pytest.raises(TypeError, match=r"rate must be a Fraction, got the class Fraction itself; call it"):
        v.instance(Fraction, Fraction, "rate")


def test_a_seed_is_no_generator():
    rng = torch.Generator()
    assert v.generator(rng) is rng and v.generator(None, optional=True) is None
    for value in (0, None, np.random.default_rng(1)):
        with pytest.raises(TypeError, match="manual_seed"):
            v.generator(value)


def test_places_are_whole_numbers_within_their_range():
    places = torch.tensor([2, 0, 2])
    assert v.indices(places, "rows", 3) is places
    assert torch.equal(v.indices(places.int(), "rows", 3), places)
    assert np.array_equal(v.indices(places.int().numpy(), "rows"), places.numpy())
    assert len(v.indices(places[:0], "rows", 3)) == 0
    for value in (None, [0, 1], 2, "all", places.double(), places > 0, places.to(torch.uint8), places[None]):
        with pytest.raises(TypeError, match="rows must be an integer tensor"):
            v.indices(value, "rows", 3)
    for value in (places - 1, places + 1):
        with pytest.raises(ValueError, match="rows must lie ≥ 0 and ≤ 2"):
            v.indices(value, "rows", 3)


def test_numpy_scalars_and_arrays_without_dimensions_are_numbers_everywhere():
    from nearsight.hamiltonians import Holstein, Ising, Potts, SDModel
    from nearsight.lattices import chain, square

    four, half = (np.int64(4), np.array(4), torch.tensor(4)), (np.float32(0.5), np.array(0.5), torch.tensor(0.5))
    for n, x in zip(four, half, strict=True):
        lattice = square(n, n, periodic=np.bool_(True))
        assert lattice.shape == (4, 4)
        assert lattice.resized(n).shape == (4, 4)
        assert repr(SDModel(lattice, B=x, J=x)) == repr(SDModel(square(4), B=0.5, J=0.5))
        assert repr(Ising(lattice, J=x, h=x)) == repr(Ising(square(4), J=0.5, h=0.5))
        assert repr(Potts(lattice, n, J=(x, x))) == repr(Potts(square(4), 4, J=(0.5, 0.5)))
        assert repr(Holstein(chain(n), twist=x)) == repr(Holstein(chain(4), twist=(0.5,)))
        assert len(lattice.neighbourhood(x * 4, centre=n)) == 13
        assert len(lattice.bonds(n - 3)) == 32
