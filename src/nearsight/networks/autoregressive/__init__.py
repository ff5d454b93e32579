"""Autoregressive models of P(a): normalised, ln P finite for every configuration, drawn without a Markov chain."""

from nearsight.networks.autoregressive.attention import AttentionAutoregression
from nearsight.networks.autoregressive.gru import GRUAutoregression
from nearsight.networks.autoregressive.hidden_spins import HiddenSpinAutoregression
from nearsight.networks.autoregressive.logistic import LogisticAutoregression
from nearsight.networks.autoregressive.model import AutoregressiveModel
from nearsight.networks.autoregressive.order import site_order
from nearsight.networks.autoregressive.symmetrised import Symmetrised, lattice_operations

__all__ = [
    "AttentionAutoregression",
    "AutoregressiveModel",
    "GRUAutoregression",
    "HiddenSpinAutoregression",
    "LogisticAutoregression",
    "Symmetrised",
    "lattice_operations",
    "site_order",
]
