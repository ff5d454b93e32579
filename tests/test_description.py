"""A value is what its constructor was given: no parameter is hidden, lost or rounded."""

import numpy as np
import pytest
import torch

from nearsight._description import Described, differences, fingerprint
from nearsight.lattices import square, triangular


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


class Ground(Described):
    def __init__(self, lattice, depth=1.0):
        self.lattice, self.depth = lattice, depth


class Weights(Described, torch.nn.Module):
    """A module that draws its parameters, on a lattice."""

    def __init__(self, lattice, *, rng=None):
        super().__init__()
        self.lattice, self.w = lattice, torch.nn.Parameter(torch.randn(3, generator=rng))


class House(Described):
    def __init__(self, ground, *rooms):
        self.ground, self.rooms = ground, rooms


def test_what_stands_on_a_lattice_moves_with_all_its_parts():
    house = House(Ground(square(4), 0.5), Weights(square(4)), Shape(3))
    moved = house.on(square(6))
    assert moved.ground.lattice.shape == moved.rooms[0].lattice.shape == (6, 6) and moved.ground.depth == 0.5
    assert moved.rooms[1] is house.rooms[1]  # a shape is at home anywhere
    assert house.ground.lattice.shape == house.rooms[0].lattice.shape == (4, 4)
    with pytest.raises(ValueError, match="Ground lives on a square lattice in any size, not on triangular"):
        house.on(triangular(4))


def test_what_is_learned_is_shared_by_other_lattices_and_keeps_its_mode():
    weights = Weights(square(4)).eval()
    assert weights.on(square(6)).w is weights.w and not weights.on(square(6)).training


def test_a_fingerprint_tells_what_is_learned_and_every_array():
    one, other = (Weights(square(4), rng=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert one.config() == other.config() and fingerprint(one) != fingerprint(other)
    big = np.zeros(10**6)
    assert fingerprint(Shape(big)) == fingerprint(Shape(big.copy())) != fingerprint(Shape(big + np.eye(1, 10**6)[0]))
    assert len(str(fingerprint(Shape(big)))) < 200
