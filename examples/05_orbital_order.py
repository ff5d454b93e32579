# %% [markdown]
"""Orbital order of the cooperative Jahn-Teller model, and the charge order that hides beneath it, from exact electrons.

One electron per site, two orbitals to choose from: the lattice distorts so that neighbours choose differently, an
order of Ising type with Q^x = ±δ in turn. A checkerboard of charge is close in energy, and where two domains leave no
room for each other it appears as a patch.
"""

# %%
# test: square(12) -> square(8); steps=150 -> steps=30
import numpy as np
import torch

import nearsight as ns

lattice = ns.lattices.square(12)
model = ns.hamiltonians.JahnTeller(lattice)  # λ = 1.25 t, λ²/(K t) = 1.35, β = 2
relaxation = ns.dynamics.Brownian(dt=0.5, kT=0.0, damping=1.0)


def relaxed(start: torch.Tensor, electrons: int) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Field and density after sliding down the exact energy, and the energy per site."""
    exact = ns.ExactForceField(model, ns.solvers.Dense(filling=electrons / (2 * lattice.n_sites), kT=1e-3))
    final = ns.dynamics.simulate(exact, relaxation, start, steps=150, record=None, rng=None).final
    density = model.density(exact.electrons(final.field).force)
    return final.field, density, float(final.forces.energy) / lattice.n_sites


def field(Q1: np.ndarray | float = 0.54, Qx: np.ndarray | float = 0.0, Qz: np.ndarray | float = 0.0) -> torch.Tensor:
    modes = [np.broadcast_to(mode, lattice.n_sites) for mode in (Q1, Qx, Qz)]
    return torch.from_numpy(np.stack(modes, axis=-1))


# %% [markdown]
# ## Three orders compete at one electron per site

# %%
sign = ns.analysis.sublattice_sign(lattice)
half = lattice.n_sites
for name, start in {
    "orbitals alternate": field(Qx=0.3 * sign),
    "charge alternates": field(Q1=0.54 + 0.3 * sign),
    "orbitals aligned": field(Qx=0.3),
}.items():
    Q, n, energy = relaxed(start, half)
    orbital = float(ns.analysis.contrast_order(Q[:, 1], lattice).mean())
    charge = float(abs(ns.analysis.contrast_order(n, lattice)).mean())
    print(f"{name}: energy {energy:.4f} t per site, staggered Q^x = {orbital:.4f}, staggered density = {charge:.3f}")

# %% [markdown]
# ## Two domains side by side: where they give way, charge alternates

# %%
domain = np.where(lattice.cells[:, 0] < lattice.shape[0] // 2, 1.0, -1.0)
start = field(Qx=0.3 * sign * domain)
start += 0.01 * torch.randn(start.shape, generator=torch.Generator().manual_seed(5), dtype=start.dtype)
Q, n, energy = relaxed(start, half)
phi = ns.analysis.contrast_order(Q[:, 1], lattice)
patches = ns.analysis.local_amplitude(ns.analysis.contrast_order(n, lattice), lattice)
print(f"started as two domains: energy {energy:.4f} t per site")
strength = ns.analysis.local_amplitude(phi, lattice)
for name, where in (("with orbital order", strength > 0.2), ("without", strength < 0.1)):
    order = float(patches.where(where).mean())
    print(
        f"    {int(where.sum())} sites {name}: staggered density {order:.3f}, mean {float(n[where.values].mean()):.3f}"
    )

# %% [markdown]
# ## Order as a correlation along the axes, C^xx(r): it alternates, and decays where the patch is

# %%
C = ns.analysis.axial_correlation(Q[:, 1], lattice)
print("    C^xx(r)", np.array2string(C.values, precision=3, floatmode="fixed"))
