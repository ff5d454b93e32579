"""Equations of motion of the field, one a file, and the run that drives them.

``simulate(forcefield, scheme, field, steps=..., record=..., rng=...)`` moves a field, or a batch of replicas, and keeps
what ``record`` asks for. Schemes: :class:`Langevin` with inertia, :class:`Brownian` without, :class:`TDGL` without
noise; :class:`HopMonteCarlo` and :class:`RejectionFreeHops` for particles that hop, :class:`KineticMonteCarlo` for any
discrete moves, all three content with None for a force field; for unit spins the :class:`LandauLifshitz` equation by
:class:`SemiImplicit`, :class:`SphericalMidpoint`, :class:`AB2Rotation`, :class:`DepondtMertens` or :class:`HeunSpins`.
"""

from nearsight.dynamics.ab2_rotation import AB2Rotation
from nearsight.dynamics.brownian import Brownian
from nearsight.dynamics.depondt_mertens import DepondtMertens
from nearsight.dynamics.euler_maruyama import EulerMaruyama
from nearsight.dynamics.heun_spins import HeunSpins
from nearsight.dynamics.hop_monte_carlo import HopMonteCarlo
from nearsight.dynamics.hop_rates import HopRates
from nearsight.dynamics.kinetic_monte_carlo import KineticMonteCarlo
from nearsight.dynamics.landau_lifshitz import LandauLifshitz
from nearsight.dynamics.langevin import Langevin
from nearsight.dynamics.rate_model import RateModel
from nearsight.dynamics.rejection_free_hops import RejectionFreeHops
from nearsight.dynamics.run.audit import Audit, AuditWarning, UntrustedError
from nearsight.dynamics.run.audit_hops import audit_hops
from nearsight.dynamics.run.guard import Guard, OutOfRangeError
from nearsight.dynamics.run.record import At, Every
from nearsight.dynamics.run.simulate import simulate
from nearsight.dynamics.run.trajectory import Trajectory
from nearsight.dynamics.scheme import Scheme, State
from nearsight.dynamics.semi_implicit import SemiImplicit
from nearsight.dynamics.spherical_midpoint import SphericalMidpoint
from nearsight.dynamics.spin_flips import SpinFlips
from nearsight.dynamics.tdgl import TDGL

__all__ = [
    "TDGL",
    "AB2Rotation",
    "At",
    "Audit",
    "AuditWarning",
    "Brownian",
    "DepondtMertens",
    "EulerMaruyama",
    "Every",
    "Guard",
    "HeunSpins",
    "HopMonteCarlo",
    "HopRates",
    "KineticMonteCarlo",
    "LandauLifshitz",
    "Langevin",
    "OutOfRangeError",
    "RateModel",
    "RejectionFreeHops",
    "Scheme",
    "SemiImplicit",
    "SphericalMidpoint",
    "SpinFlips",
    "State",
    "Trajectory",
    "UntrustedError",
    "audit_hops",
    "simulate",
]
