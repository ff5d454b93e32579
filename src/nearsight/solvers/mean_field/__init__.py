"""Interacting electrons in mean field: densities and moments that follow from the levels they shift."""
