"""Electrons between reservoirs: steady states out of equilibrium by Green's functions."""
