"""Constants of nature in geometric units, G = c = 1, with times in seconds."""

SPEED_OF_LIGHT = 299792458.0
"""c in m/s."""
SOLAR_MASS = 4.925490947641267e-6
"""G M_sun / c³ in s (IAU 2015 nominal)."""
MEGAPARSEC = 3.085677581491367e22 / SPEED_OF_LIGHT
"""1 Mpc / c in s."""
KILOMETRE = 1e3 / SPEED_OF_LIGHT
"""1 km / c in s."""
EULER = 0.5772156649015329
"""Euler's constant γ."""
