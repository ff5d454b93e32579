"""Wide-band reservoirs: leads, gates and baths attached to sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NoReturn

import numpy as np

from nearsight._description import Described
from nearsight._validation import choice, instance, integer
from nearsight.lattices import Lattice
from nearsight.solvers.protocols import Parameter, Protocol, parameter, revived

Gate = Literal["lowered", "raised"]
LeadColumns = Literal["lead", "sum", "both"]


@dataclass(frozen=True, eq=False)
class Reservoir(Described):
    r"""Free electrons of a wide band in equilibrium, in contact with some sites.

    .. math:: \Sigma^r_{ij}(\epsilon) = -i\,\Gamma\,\delta_{ij}, \qquad
              \Sigma^<_{ij}(\epsilon) = 2i\,\Gamma\,\delta_{ij}\, f(\epsilon), \qquad
              f(\epsilon) = \frac{1}{e^{(\epsilon - \mu)/kT} + 1}, \qquad i, j \in \mathrm{sites}.

    A level on such a site has the Lorentzian half width Γ, and empties at the rate 2Γ/ħ. What much of the literature
    calls the broadening, i(Σʳ - Σᵃ), is 2Γ. Several reservoirs may share a site: their Γ add up.

    Parameters
    ----------
    sites: different sites (or a mask of all sites); of a model with several orbitals per site, all of them are coupled.
    gamma: Γ > 0, in units of t.
    mu: chemical potential; anything finite: far outside of the band it fills everything or nothing.
    kT: temperature ≥ 0; at 0 the Fermi function is a step, with ½ at μ.

    Γ, μ and kT may be protocols, functions of time such as :class:`nearsight.solvers.Pulse`; ``at_time(time)`` puts
    numbers in their place.

    >>> Reservoir(range(4), gamma=1.0, mu=-2.5, kT=0.1).gamma
    1.0
    """

    sites: np.ndarray
    gamma: Parameter
    mu: Parameter
    kT: Parameter

    _parts: ClassVar = dict.fromkeys(("gamma", "mu", "kT"), revived)

    def __post_init__(self) -> None:
        sites = _sites(self.sites)
        sites.flags.writeable = False
        object.__setattr__(self, "sites", sites)
        object.__setattr__(self, "gamma", parameter(self.gamma, "gamma of a reservoir", above=0))
        object.__setattr__(self, "mu", parameter(self.mu, "mu of a reservoir"))
        object.__setattr__(self, "kT", parameter(self.kT, "kT of a reservoir", least=0))

    @property
    def driven(self) -> bool:
        """Whether it depends on time."""
        return any(isinstance(x, Protocol) for x in (self.gamma, self.mu, self.kT))

    def on(self, lattice: Lattice) -> NoReturn:
        """Refused: which sites of another lattice take the place of these only the user knows."""
        raise ValueError(
            f"A reservoir is attached to {len(self.sites)} sites of one lattice and cannot follow to "
            f"{lattice!r}. Attach others to that lattice, with electrodes(lattice, ...) for a bar, and make solver and "
            "force field anew."
        )


def _sites(value: Any) -> np.ndarray:
    """Different sites, ascending; from places or a mask."""
    wanted = "sites of a reservoir must be different whole numbers ≥ 0, or a mask of all sites"
    try:
        given = np.asarray(value if hasattr(value, "__array__") else list(value))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{wanted}, got {value!r}.") from error
    if given.ndim != 1 or (given.size and given.dtype.kind not in "biu"):
        raise TypeError(f"{wanted}, got {given.dtype} of shape {given.shape}.")
    sites = np.flatnonzero(given) if given.dtype.kind == "b" else np.unique(given.astype(np.int64))
    if not len(sites):
        raise ValueError(
            "A reservoir without sites changes nothing: give the sites it is attached to, or leave it out."
        )
    if sites[0] < 0 or (given.dtype.kind != "b" and len(sites) != len(given)):
        raise ValueError(f"{wanted}, got {len(given)} places from {int(given.min())} to {int(given.max())}.")
    return sites


def electrodes(
    lattice: Lattice,
    *,
    voltage: Parameter,
    kT: Parameter,
    gamma: Parameter = 1.0,
    bath: Parameter = 0.001,
    mu: Parameter = 0.0,
    gate: Gate = "lowered",
    lead_columns: LeadColumns = "lead",
    columns: int = 1,
    axis: int = 0,
) -> tuple[Reservoir, ...]:
    """A bar between a gate at its beginning and a substrate at its end: reservoirs left, right and, if any, bath.

    Parameters
    ----------
    lattice: with open boundaries along ``axis``.
    voltage: eV, by which the chemical potential of the left lead differs from ``mu``, that of right lead and bath. This
        and all other parameters may be protocols, functions of time such as :class:`nearsight.solvers.Pulse`.
    kT: temperature of all three.
    gamma, bath: Γ of the leads on their columns, and of the bath elsewhere; 0: no bath.
    gate: ``lowered`` by the voltage, so that electrons leave to the left, or ``raised``, so that they come from there.
    lead_columns: what the columns under the leads feel: the ``lead`` alone; the ``sum`` of both Γ, filled by the lead;
        or ``both`` reservoirs, each with its own filling.
    columns: cells along the axis under either lead.

    >>> from nearsight.lattices import square
    >>> left, right, bath = electrodes(square(8, 4, periodic=(False, True)), voltage=2.5, kT=0.1)
    >>> left.mu, len(left.sites), len(bath.sites)
    (-2.5, 4, 24)
    """
    axis = integer(axis, "axis", least=0, most=instance(lattice, Lattice, "lattice").dim - 1)
    voltage, mu, kT = parameter(voltage, "voltage"), parameter(mu, "mu"), parameter(kT, "kT", least=0)
    gamma, bath = parameter(gamma, "gamma", above=0), parameter(bath, "bath", least=0)
    columns = integer(columns, "columns under a lead", least=1)
    choice(gate, "gate", ("lowered", "raised"))
    choice(lead_columns, "lead_columns", ("lead", "sum", "both"))
    periodic: Sequence[bool] = lattice.periodic  # type: ignore[assignment]
    if periodic[axis]:
        raise ValueError(
            f"A bar has ends, and {lattice!r} has none along axis {axis}: open it with periodic=(..., False, ...)."
        )
    cell = lattice.cells[:, axis]
    length = int(lattice.shape[axis])
    if length < 2 * columns + 1:
        raise ValueError(
            f"A bar of {length} cells along axis {axis} has no room for two leads of {columns} with something between "
            f"them: make it {2 * columns + 1} long, or take fewer columns."
        )
    left, right = cell < columns, cell >= length - columns
    lead = gamma + bath if lead_columns == "sum" else gamma
    gated = mu - voltage if gate == "lowered" else mu + voltage
    reservoirs = [Reservoir(np.flatnonzero(left), lead, gated, kT), Reservoir(np.flatnonzero(right), lead, mu, kT)]
    if bath:
        under = np.ones_like(left) if lead_columns == "both" else ~(left | right)
        reservoirs.append(Reservoir(np.flatnonzero(under), bath, mu, kT))
    return tuple(reservoirs)
