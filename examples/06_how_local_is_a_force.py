# %% [markdown]
"""How far must a model see to know a force? It depends on temperature, on order, and on the ensemble.

The response ∂F_i/∂Q_j says how far the electrons see. The floor says what that is worth: how wrong the best
model with a cutoff must be, because what decides the rest of the force lies beyond.
"""

# %%
# test: square(12) -> square(6); fields = 24 -> fields = 8; samples = 48 -> samples = 8
import torch

import nearsight as ns

lattice = ns.lattices.square(12)
fields = 24
samples = 48
model = ns.hamiltonians.Holstein(lattice, g=1.5, k=1.005, kappa=0.18)
rng = torch.Generator().manual_seed(1)

noise = torch.randn(fields, lattice.n_sites, 1, generator=rng, dtype=torch.float64)
checkerboard = torch.tensor(ns.analysis.sublattice_sign(lattice))[:, None]
ensembles = {"metal": 0.3 * noise, "charge-density wave": 2.0 * checkerboard + 0.3 * noise}

print(f"{'':24}{'kT':>5}{'ξ of the response':>22}{'99 % within':>13}   floor at cutoff 1, 2, 3")
for name, field in ensembles.items():
    for kT in (0.5, 0.1, 0.05):
        electrons = ns.ExactForceField(model, ns.solvers.Dense(mu=0.0, kT=kT)).electrons
        seen = ns.analysis.response(electrons, field[:8], rng=rng)
        decay = seen.decay(rng=rng)
        floor = ns.analysis.truncation(electrons, field, [1, 2, 3], rng=rng, samples=samples)["floor"].values
        print(
            f"{name:24}{kT:5g}{f'{decay.length:.2f} ± {decay.error:.2f} a':>22}{seen.radius(0.99):11.1f} a   "
            + "  ".join(f"{value:.0e}" for value in floor)
        )

canonical = ns.ExactForceField(model, ns.solvers.Dense(filling=0.5, kT=0.5)).electrons
seen = ns.analysis.response(canonical, ensembles["metal"][:8], rng=rng)
print(
    f"metal at fixed number: {'not local' if seen.fixed_number else 'local'}, the response stays at "
    f"{float(seen.uniform[0, 0]):.1e} far away, {float(seen.uniform[0, 0]) * lattice.n_sites:.2f} over all sites"
)
