"""A value is what its constructor was given: no parameter is hidden, lost or rounded."""

import numpy as np
import pytest

from nearsight._description import Described, differences


class Shape(Described):
    def __init__(self, sides, *, length=1.0, tilt=0.0, open=False, rng=None):
        self.sides, self.length, self.tilt, self.open = sides, length, tilt, open


class Solid(Shape):
    pass


class Forgetful(Described):
    def __init__(self, length):
        self._length = length


def test_a_representation_names_what_differs_and_what_sets_a_scale():
    assert repr(Shape(3)) == "Shape(sides=3, length=1)"
    assert repr(Shape(3, length=0.1 + 0.2, tilt=-1, open=True)) == (
        "Shape(sides=3, length=0.30000000000000004, tilt=-1, open=True)"
    )
    assert repr(Shape(np.eye(2))) != repr(Shape(np.eye(2) * (1 + 1e-15)))


def test_an_object_is_made_again_from_plain_data():
    again = Shape.from_config(Solid((3, 4), tilt=np.float64(0.1)).config())
    assert type(again) is Solid and again.arguments == {"sides": (3, 4), "length": 1.0, "tilt": 0.1, "open": False}
    assert again.replaced(open=True).open and not again.open


def test_a_class_of_another_family_is_refused():
    with pytest.raises(ValueError, match="'Forgetful' is no Shape that this version knows; it has Shape, Solid"):
        Shape.from_config({"type": "Forgetful"})
    with pytest.raises(ValueError, match="'Shape' is no Solid"):
        Solid.from_config(Shape(3).config())


def test_a_parameter_that_is_not_kept_is_an_error():
    with pytest.raises(TypeError, match="Forgetful does not keep its argument length"):
        repr(Forgetful(2.0))


def test_differences_are_told_by_their_full_names():
    one, two = ({"model": {"type": "Holstein", "g": g}, "kT": 0.1} for g in (1.0, 1.5))
    assert differences(one, two) == ["model.g: 1.0 (then), 1.5 (now)"]
    assert differences(one, one) == []
