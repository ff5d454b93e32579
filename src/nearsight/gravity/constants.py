"""Constants of nature in geometric units, G = c = 1, with times in seconds."""

SOLAR_MASS = 4.925490947641267e-6
"""G M_sun / c³ in s (IAU 2015 nominal)."""
MEGAPARSEC = 3.085677581491367e22 / 299792458
"""1 Mpc / c in s."""
KILOMETRE = 1 / 299792.458
"""1 km / c in s."""
EULER = 0.5772156649015329
"""Euler's constant γ."""
