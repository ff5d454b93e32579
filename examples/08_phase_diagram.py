# %% [markdown]
"""Where the charge-density wave of the Holstein model ends: a phase diagram in coupling and temperature.

Every point is the displacement at which the checkerboard feels no force, with exact electrons on a torus. `ns.scan`
shares the points among the cores, keeps each as it comes, and gives them back as one labelled array: killed, the script
goes on where it was.
"""

# %%
# test: square(16) -> square(4); 0.1, 1.9, 10 -> 0.1, 1.5, 2; 0.9, 1.5, 7 -> 1.3, 1.5, 2
import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.optimize import brentq

import nearsight as ns

K, KAPPA = 1.005, 0.18  # springs, and between neighbours


def displacement(g: float, kT: float) -> float:
    """Q of the checkerboard in equilibrium, 0 where the electrons do not hold it against the springs."""
    lattice = ns.lattices.square(16)
    model = ns.hamiltonians.Holstein(lattice, g=g, k=K, kappa=KAPPA)
    exact = ns.ExactForceField(model, ns.solvers.Dense(mu=0.0, kT=kT))
    sign = torch.from_numpy((-1.0) ** lattice.cells.sum(1))[:, None]

    def pull(q: float) -> float:
        return float((exact(q * sign).force * sign).mean())

    return brentq(pull, 1e-3, 10.0) if pull(1e-3) > 0 else 0.0


grid = {"kT": np.linspace(0.1, 1.9, 10), "g": np.linspace(0.9, 1.5, 7)}
found = ns.scan(displacement, grid, path="phase_diagram", progress=False)
Q = found.value.assign_attrs(long_name="displacement Q", units="a")

# %% [markdown]
# ## The transition: where Q vanishes, from the bending of the potential at Q = 0, no search

# %%
k = 2 * np.pi * (np.arange(400) + 0.5) / 400
band = 2 * np.cos(k)[:, None] + 2 * np.cos(k)


def bending(kT: float, g: float) -> float:
    """Of the infinite lattice: springs less what electrons gain, k - 4κ - g² <tanh(ε/2kT)/2ε>."""
    gain = np.tanh(band / (2 * kT)) / (2 * np.where(abs(band) > 1e-12, band, 1.0))
    return K - 4 * KAPPA - g**2 * float(np.where(abs(band) > 1e-12, gain, 1 / (4 * kT)).mean())


transition = [brentq(bending, 0.01, 20.0, args=(g,)) for g in grid["g"]]
for g, kT in zip(grid["g"], transition, strict=True):
    print(f"g = {g:.2f}: ordered below kT = {kT:.3f} on the infinite lattice")

figure, axis = plt.subplots(layout="constrained")
Q.plot(ax=axis)
axis.plot(grid["g"], transition, color="white", label="infinite lattice")
axis.set(xlabel="g", ylabel="kT (t)", ylim=(grid["kT"].min(), grid["kT"].max()))
axis.legend()
figure.savefig("phase_diagram.png", dpi=150)
