"""Skyrmions of the triangular itinerant magnet: torques learned on a small lattice, followed on a large one."""
