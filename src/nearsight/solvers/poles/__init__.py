"""Rational approximations of the Fermi function and the selected inversion that evaluates them."""
