"""What the checks of imported spins speak against, in words, each with its cure."""

from __future__ import annotations

import math
from typing import Any

BETTER = 0.92
"""Another order is preferred if it leaves less than this times what the declared one does. Learned from the
172 right data sets of ``benchmarks/import_slips.py --full``, s-d models at J = 0.1 to 6 and fillings of 0.07 to 0.5 on
eleven lattices of 36 to 216 sites, random and relaxed spins, two snapshots each: one ratio was 0.89, by chance, of 54
sites, all others above 0.98, and the median was 2.2. None is refused, and 558 of 562 slips are."""
EVIDENCE = 40.0
"""... and if -n ln(ratio) is larger than this for n components: that chance has 25."""
EDGE = 10.0
"""The same for the sites at an edge, where 3 was reached by chance."""
LINEAR = 0.8
"""What the linear law may leave of the fields where its energies are believed."""
FARSIGHTED = 0.95
"""Neighbours leave more than this in unrelated orders; right data left 0.89 at most, metals of 54 sites at low kT."""


def suspicions(checks: dict[str, Any], factor: float = 1.0, meaning: str = "field") -> list[str]:
    """What :func:`check_spins` found that speaks against the conventions, each with its cure.

    ``factor`` and ``meaning`` are what the fields were read with; those proposed replace them.
    """
    found = _meaning(checks, factor, meaning)
    if not found:
        found = _sum_rule(checks) or _order(checks["order"])
    if checks["parallel"] > 0.05 and checks["along"] < -0.5:
        found.append(
            f"H·S is negative, {checks['along']:.2f} of its size on average, where the energy of electrons, concave in "
            f"their coupling, makes its sum over the sites positive; give factor: {-factor:.3g} instead of {factor:.3g}"
        )
    known = False
    for name, law in (("precession", "dS/dt = S × H"), ("work", "H = -∂E/∂S")):
        if checks[name] is not None and abs(checks[name]["correlation"]) > 0.5:
            known = True
            slope = checks[name]["slope"]
            if not 0.8 < slope < 1.25:
                times = f", or time_factor: {slope:.3g} if times are in another unit" if slope > 0 else ""
                found.append(
                    f"{law} holds for {slope:.3g} H instead of H; give factor: {factor * slope:.3g} instead of "
                    f"{factor:.3g}{times if name == 'precession' else ''}"
                )
    linear = checks["exchange"] is not None and checks["exchange"]["left"] < LINEAR
    if not found and not known and linear and checks["parallel"] < 0.05 and checks["level"] > 5:
        found.append(
            f"the energies of these spins, estimated from their neighbours, lie {checks['level']:.0f} standard "
            f"deviations above those of random spins; if the spins are relaxed or in equilibrium, give factor: "
            f"{-factor:.3g} instead of {factor:.3g}"
        )
    return found


def _meaning(checks: dict[str, Any], factor: float, meaning: str) -> list[str]:
    """Torques given as fields, and the reverse: which of the two adds up to zero."""
    if checks["parallel"] < 1e-3 and checks["total_torque"] > 0.3 and checks["total_field"] < 0.1:
        if meaning == "field":
            return ["the fields are normal to the spins and add up to zero, as torques S × H do; give meaning: torque"]
        return ["S × array adds up to zero instead of the array, which holds fields; give meaning: field"]
    return []


def _sum_rule(checks: dict[str, Any]) -> list[str]:
    total = checks["total_torque"]
    if not total > 0.05:
        return []
    if checks["uniform_field"]["left"] < 0.3:
        B = ", ".join(f"{b:.4g}" for b in checks["uniform_field"]["B"])
        return [f"the fields hold a uniform field of ({B}); give it as external, to be taken out of them"]
    name = min(checks["rearranged"], key=lambda key: checks["rearranged"][key])
    cure = "compare the axes and the order of sites of the spins with those of the fields"
    if checks["rearranged"][name] < 0.2 * total:
        cure = f"they would cancel if the fields {'were' if 'snapshot' in name else 'had'} {name}"
    return [
        f"the torques add up to {total:.2g} of their size instead of 0, as they must for energies that do not change "
        f"when all spins turn; {cure}"
    ]


def _order(order: dict[str, Any] | None) -> list[str]:
    if order is None:
        return []
    own, others = order["left"], {k: v for k, v in order["others"].items() if math.isfinite(v)}
    if others and _prefers(own, best := min(others.values()), order["labels"], EVIDENCE):
        # All that do as well, up to chance: symmetries of the lattice make some of them the same.
        names = [name for name, left in others.items() if not _prefers(left, best, order["labels"], EDGE, 1.0)]
        cure = "; give the primitive vectors your axes run along as vectors" if names[0].startswith("ax") else ""
        return [
            f"neighbours leave {own:.2f} of the fields unexplained, but only {best:.2f} on a grid with "
            f"{' or '.join(sorted(names, key=lambda key: others[key])[:4])}{cure}"
        ]
    edges = order["boundaries"]
    for axis, edge in enumerate(edges):
        if _prefers(edge["left"], edge["other"], edge["labels"], EDGE):
            flags = ", ".join(str(e["periodic"] != (k == axis)).lower() for k, e in enumerate(edges))
            return [
                f"at the edges of axis {axis} neighbours leave {edge['left']:.2f} of the fields unexplained, but only "
                f"{edge['other']:.2f} if that axis is {'open' if edge['periodic'] else 'periodic'}; give "
                f"periodic: [{flags}]"
            ]
    if own > FARSIGHTED and order["labels"] >= 200:
        return [
            f"neighbours leave {own:.2f} of the fields unexplained, as they do where sites are in another order than "
            f"their fields' neighbours; none of {len(others)} other orders does better: compare the positions of the "
            f"sites with those of the library's lattice"
        ]
    return []


def _prefers(own: float, other: float, labels: int, evidence: float, better: float = BETTER) -> bool:
    if not (math.isfinite(own) and math.isfinite(other)) or own == 0:
        return False
    ratio = max(other, 1e-12) / own
    return own > 1e-6 and ratio < better and -labels * math.log(ratio) > evidence
