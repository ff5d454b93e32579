"""Equations of motion of the field, one a file, and the run that drives them.

``simulate(forcefield, scheme, field, steps=..., record=..., rng=...)`` moves a field, or a batch of replicas, and keeps
what ``record`` asks for. Schemes: :class:`Langevin` with inertia, :class:`Brownian` without, :class:`TDGL` without
noise, :class:`KineticMonteCarlo` for discrete moves.
"""

from nearsight.dynamics.brownian import Brownian
from nearsight.dynamics.euler_maruyama import EulerMaruyama
from nearsight.dynamics.guard import Guard, OutOfRangeError
from nearsight.dynamics.kinetic_monte_carlo import KineticMonteCarlo
from nearsight.dynamics.langevin import Langevin
from nearsight.dynamics.rate_model import RateModel
from nearsight.dynamics.record import At, Every
from nearsight.dynamics.scheme import Scheme, State
from nearsight.dynamics.simulate import simulate
from nearsight.dynamics.spin_flips import SpinFlips
from nearsight.dynamics.tdgl import TDGL
from nearsight.dynamics.trajectory import Trajectory

__all__ = [
    "TDGL",
    "At",
    "Brownian",
    "EulerMaruyama",
    "Every",
    "Guard",
    "KineticMonteCarlo",
    "Langevin",
    "OutOfRangeError",
    "RateModel",
    "Scheme",
    "SpinFlips",
    "State",
    "Trajectory",
    "simulate",
]
