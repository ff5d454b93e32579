"""nearsight: exact electrons on small lattices in, fast symmetry-exact force fields and large-scale dynamics out."""

__version__ = "0.1.0"
