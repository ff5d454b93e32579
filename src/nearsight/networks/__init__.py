"""Learned functions: networks on invariant features, convolutions that commute with the lattice, and probabilities."""

from nearsight.networks.autoregressive import (
    AttentionAutoregression,
    AutoregressiveModel,
    GRUAutoregression,
    HiddenSpinAutoregression,
    LogisticAutoregression,
    Symmetrised,
    lattice_operations,
)
from nearsight.networks.bar_cnn import BarCNN
from nearsight.networks.block_cnn import BlockCNN
from nearsight.networks.ednn import EDNN
from nearsight.networks.embedded_network import EmbeddedNetwork
from nearsight.networks.group_cnn import GroupCNN
from nearsight.networks.group_convolution import GroupConvolution
from nearsight.networks.lattice_network import LatticeNetwork
from nearsight.networks.mlp import MLP
from nearsight.networks.modulation import Modulation
from nearsight.networks.spin_cnn import SpinCNN
from nearsight.networks.spin_message_passing import SpinMessagePassing
from nearsight.networks.symmetrised_mlp import SymmetrisedMLP
from nearsight.networks.torque_resnet import TorqueResNet

__all__ = [
    "EDNN",
    "MLP",
    "AttentionAutoregression",
    "AutoregressiveModel",
    "BarCNN",
    "BlockCNN",
    "EmbeddedNetwork",
    "GRUAutoregression",
    "GroupCNN",
    "GroupConvolution",
    "HiddenSpinAutoregression",
    "LatticeNetwork",
    "LogisticAutoregression",
    "Modulation",
    "SpinCNN",
    "SpinMessagePassing",
    "Symmetrised",
    "SymmetrisedMLP",
    "TorqueResNet",
    "lattice_operations",
]
