"""What a study builds for its largest lattices is built without a matrix of their electrons."""

import pytest

from nearsight.hamiltonians import FalicovKimball
from nearsight.lattices import square
from nearsight.moves import ExactMoves
from nearsight.studies import get, names
from nearsight.studies.quench import QuenchStudy

STUDIES = [name for name in names() if isinstance(get(name), QuenchStudy)]


def lengths(config) -> set[int]:
    """Every length of a lattice that the settings of large quenches and of timings name; sites of a structure."""
    large = config.large.model_dump()
    named = {name: value for name, value in large.items() if name.endswith("length") or name == "sites"}
    found = {value for value in named.values() if isinstance(value, int)}
    return found | set(large.get("speed_lengths", ()))


@pytest.mark.parametrize("name", STUDIES)
def test_the_large_systems_of_every_preset_fit_into_memory(name):
    study = get(name)
    for config in study.presets.values():
        assert lengths(config)
        for length in lengths(config):
            system = study.system(config, length)
            model = system.model
            assert "constant" not in vars(model) or model.constant.numel() < 1e8


def test_exact_energies_of_moves_on_a_lattice_of_a_million_sites_cost_nothing_until_they_are_asked_for():
    moves = ExactMoves(FalicovKimball(square(1000)), kT=0.05, filling=0.5)
    assert "constant" not in vars(moves.model)
    small = moves.on(square(4))
    assert small._bounds[0] < -4.0 + 1e-9 and small._bounds[1] > 4.0 - 1e-9
