"""Kernel polynomials: density matrices and densities of states of sparse matrices by Chebyshev moments."""
