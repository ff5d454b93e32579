"""Particles that attempt to hop, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import instance
from nearsight.dynamics._acceptance import Acceptance
from nearsight.dynamics._delayed_acceptance import DelayedAcceptance
from nearsight.dynamics.hop_rates import _check_particles, _not_a_number
from nearsight.dynamics.run._streams import replica_streams
from nearsight.dynamics.scheme import Scheme, State, _checked, _forces
from nearsight.forcefields import ForceField
from nearsight.lattices import Lattice
from nearsight.moves import MoveEnergies


class _WalkingScheme(Scheme):
    """Steps in which every replica goes on a walk and sees random numbers of its own."""

    tallies: ClassVar[tuple[str, ...]]
    """What is counted on the walks."""

    def _walk(self, field: Tensor, generator: np.random.Generator) -> tuple:
        """A field ``(site, 1)`` one step later, and the counts called ``tallies``."""
        raise NotImplementedError

    @property
    def _duration(self) -> float:
        """The time of one step."""
        raise NotImplementedError

    def _first(self, state: State, rng: torch.Generator | None) -> State:
        zero = torch.zeros(state.field.shape[:-2], dtype=torch.float64, device=state.field.device)
        return replace(state, tally={name: zero.clone() for name in self.tallies})

    def step(self, state: State, forcefield: ForceField | None, rng: torch.Generator | None) -> State:
        fields = state.field.reshape(-1, *state.field.shape[-2:])
        moved = torch.empty_like(fields)
        counts = np.zeros((len(self.tallies), len(fields)))
        for r, generator in enumerate(replica_streams(rng, len(fields))):
            moved[r], *counts[:, r] = self._walk(fields[r], generator)
        field, tally = moved.reshape(state.field.shape), {}
        for name, count in zip(self.tallies, counts, strict=True):
            old = state.tally[name]
            tally[name] = old + torch.from_numpy(count).to(old.device).reshape(old.shape)
        return State(field, None, _forces(forcefield, field), state.time + self._duration, state.step + 1, tally=tally)


@dataclass(frozen=True)
class HopMonteCarlo(_WalkingScheme):
    r"""Attempted hops of particles, accepted or rejected: kinetic Monte Carlo as the Falicov-Kimball literature has it.

    An attempt draws a particle i and one of the z directions at random. If the target j is occupied, or beyond an open
    edge, nothing happens; otherwise the particle hops with probability A(ΔE). Seen from the particle that was drawn,

    .. math:: p_{i \to j} = \frac{1}{z} A(\Delta E_{i \to j}), \qquad
              A = \min(1, e^{-\Delta E / kT}) \text{ (metropolis)}, \quad
              \frac{1}{1 + e^{\Delta E / kT}} \text{ (glauber)},

    on the square lattice exactly the p = ¼ min(1, exp(-ΔF/kT)) of ¼ for each of four directions, with
    p_{i→i} = 1 - Σ_j p_{i→j} for staying; one energy is needed per attempt, not four. The reverse hop is drawn as
    often, 1/(n z) with n particles, and A(ΔE)/A(-ΔE) = exp(-ΔE/kT): detailed balance with the weights exp(-E/kT).

    ===  ===================================
    ΔE   ``energies``
    kT   ``kT``
    A    ``rule``
    z    the directions of ``energies.hops``
    ===  ===================================

    **Time.** ``State.time`` counts attempts per particle: n attempts advance it by 1. Plots whose unit is 100 Monte
    Carlo steps show n t / 100 if their step is one attempt (1.68 t for 168 particles), t / 100 if it is one attempt of
    every particle. :class:`RejectionFreeHops` has the same unit.

    **One step** makes ``attempts`` × n attempts in every replica, on a walk that begins afresh: a run resumed from a
    checkpoint between two steps ends with the same bits. Where beginning is expensive (electrons are diagonalised),
    take more attempts per step; records and checkpoints fall between steps.

    **Screening.** With a ``screen``, cheap energies ε, an attempt is first judged by them, and the expensive model is
    asked only about those that pass (:class:`DelayedAcceptance`). The stationary distribution is that of ``energies``
    whatever the error of the screen, which costs acceptance only: fewer hops per unit of time than without.

    **Counted** since the start, for records: "accepted" hops, "evaluated" differences of ``energies``, the
    "energy_change" as the sum of accepted ΔE. The accepted share of all attempts is accepted / (n t), the share of
    evaluations that a screen saves 1 - evaluated / (evaluated without it).

    **Random numbers.** Replica r sees a stream of its own, whatever the number of replicas (:func:`replica_streams`);
    a step takes from it all particles, then all directions, then all thresholds, then those of the second stage.

    A single particle in a flat potential, or particles so far apart that none meets another, hop at every attempt of
    the Metropolis rule: on a bipartite lattice they are on one sublattice after every even number of attempts. Average
    over time there, or take "glauber".

    Parameters
    ----------
    energies: what hops cost, exact or learned.
    kT: temperature ≥ 0 in the units of the energy.
    rule: "metropolis" or "glauber".
    attempts: attempts per particle in one step; its product with the number of particles is a whole number.
    screen: cheap energies of the same hops.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> gas = ns.moves.LatticeGas(ns.lattices.square(8), J=1.0)
    >>> field, rng = (torch.arange(64)[:, None] % 4 == 0).double(), torch.Generator().manual_seed(1)
    >>> run = ns.dynamics.simulate(None, ns.dynamics.HopMonteCarlo(gas, kT=0.5), field, steps=10, record=None, rng=rng)
    >>> change = gas.energy(run.final.field) - gas.energy(field)
    >>> int(run.final.field.sum()), torch.allclose(run.final.tally["energy_change"], change)  # no particle is lost
    (16, True)

    References
    ----------
    N. Metropolis et al., J. Chem. Phys. 21, 1087 (1953); K. Kawasaki, Phys. Rev. 145, 224 (1966).
    """

    energies: MoveEnergies
    kT: float
    rule: str = "metropolis"
    attempts: float = 1.0
    screen: MoveEnergies | None = None

    tallies: ClassVar = ("accepted", "evaluated", "energy_change")

    def __post_init__(self) -> None:
        instance(self.energies, MoveEnergies, "energies")
        _checked(self, above=("attempts",), least=("kT",))
        Acceptance(self.rule, self.kT)
        if self.screen is not None:
            instance(self.screen, MoveEnergies, "screen")
            same = self.screen.lattice.coincides(self.lattice)
            if not same or not np.array_equal(self.screen.hops.targets, self.energies.hops.targets):
                raise ValueError(
                    f"The screen knows {self.screen.hops!r}, the energies {self.energies.hops!r}; screen.on(lattice) "
                    "moves it to their lattice, and the shell of the hops must be theirs."
                )

    @property
    def lattice(self) -> Lattice:
        return self.energies.lattice

    @property
    def _duration(self) -> float:
        return self.attempts

    def _check(self, field: Tensor, forcefield: ForceField | None) -> None:
        _check_particles(self.energies, field)
        for count in field[..., 0].sum(-1).unique().tolist():
            self._attempts(round(count))

    def _walk(self, field: Tensor, generator: np.random.Generator) -> tuple[Tensor, int, int, float]:
        """One replica a step later, and what there was to count."""
        rule = Acceptance(self.rule, self.kT)
        walk = self.energies.start_walk(field)
        particles = len(walk.positions)
        count = self._attempts(particles)
        particle = generator.integers(particles, size=count)
        direction = generator.integers(walk.hops.directions, size=count)
        threshold = rule.thresholds(generator, count)
        if self.screen is None:
            accepted, difference = walk.attempt(particle, direction, threshold)
        else:
            screened = DelayedAcceptance(walk, self.screen.start_walk(field), rule)
            second = Acceptance("metropolis", self.kT).thresholds(generator, count)
            accepted, difference = screened.attempt(particle, direction, threshold, second)
        if np.isnan(difference).any():
            raise _not_a_number(self.energies)
        return walk.field, int(accepted.sum()), int(np.isfinite(difference).sum()), float(difference[accepted].sum())

    def _attempts(self, particles: int) -> int:
        count = round(self.attempts * particles)
        if count < 1 or abs(count - self.attempts * particles) > 1e-6:
            raise ValueError(
                f"{self.attempts:g} attempts per particle are {self.attempts * particles:g} of {particles} particles; "
                f"take a multiple of 1/{particles}."
            )
        return count
