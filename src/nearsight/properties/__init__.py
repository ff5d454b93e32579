"""Intensive properties of a configuration from its blocks, such as energies and phases: sister of the force fields."""

from nearsight.properties.property_model import Prediction, PropertyModel, error_of_mean

__all__ = [
    "Prediction",
    "PropertyModel",
    "error_of_mean",
]
