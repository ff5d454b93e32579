# %% [markdown]
"""The charge-density wave of the Holstein model, from exact electrons.

At half filling a square lattice of electrons coupled to a displacement Q on every site orders into a checkerboard. How
large is the displacement, how wide the gap, and how fast does an error at the boundary heal? The infinite lattice gives
the first two by one integral; the third is why a learned force field can work at all.
"""

# %%
# test: square(20) -> square(8); steps=300 -> steps=150
import numpy as np
import torch
from scipy.optimize import brentq

import nearsight as ns

g = 1.5
springs = {"g": g, "k": 0.67 * g, "kappa": 0.12 * g}
lattice = ns.lattices.square(20)
model = ns.hamiltonians.Holstein(lattice, **springs)
exact = ns.ExactForceField(model, ns.solvers.Dense(filling=0.5, kT=0.0))
sign = torch.from_numpy((-1.0) ** lattice.cells.sum(1)).unsqueeze(-1)

# %% [markdown]
# ## The infinite lattice: (k - 4κ) Q = g (n - 1/2), with n summed over the Brillouin zone

# %%
k = 2 * np.pi * (np.arange(400) + 0.5) / 400
band = 2 * np.cos(k)[:, None] + 2 * np.cos(k)


def excess(q: float) -> float:
    """n - 1/2 on the full sublattice at displacement q."""
    return 0.5 * float(np.mean(g * q / np.hypot(band, g * q)))


q_infinite = brentq(lambda q: g * excess(q) - (springs["k"] - 4 * springs["kappa"]) * q, 0.5, 5.0)
print(
    f"infinite lattice: Q = {q_infinite:.4f}, gap 2gQ = {2 * g * q_infinite:.4f} t, n = {0.5 + excess(q_infinite):.4f}"
)

# %% [markdown]
# ## The finite lattice finds it by itself, from noise

# %%
rng = torch.Generator().manual_seed(3)
noise = 0.01 * torch.randn(lattice.n_sites, 1, generator=rng, dtype=torch.float64)
scheme = ns.dynamics.TDGL(dt=0.3)
start = noise + 0.05 * sign  # a hint of one of the two phases, so that no domain wall is left
run = ns.dynamics.simulate(exact, scheme, start, steps=300, record=ns.dynamics.Every(20), rng=rng)
q = float((run.final.field * sign).mean())
density = model.density(exact.electrons(run.final.field).force)
print(f"{lattice!r}: Q = {q:.4f}, n = {float(density.max()):.4f} and {float(density.min()):.4f}")
assert abs(q - q_infinite) < 0.02

# %% [markdown]
# ## Near-sightedness: how far is one displaced site felt?

# %%
ground = q_infinite * sign
kicked = ground.clone()
kicked[0] += 0.01
response = (exact.electrons(kicked).force - exact.electrons(ground).force)[:, 0] / 0.01
print("response of the electron force to one displaced site:")
for distance in range(lattice.shape[0] // 2):
    print(f"  {distance} sites away along an axis: {float(response[lattice.index([distance, 0])]):+.2e} t per length²")
