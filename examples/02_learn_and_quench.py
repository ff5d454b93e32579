# %% [markdown]
"""Learn the forces of a small lattice, quench a large one.

The whole way in one file: exact snapshots, a symmetry-exact learned force, its error on unseen trajectories, and a
quench in which domains of the charge-density wave grow on a lattice that no exact solver reaches.
"""

# %%
# test: square(14) -> square(6); square(256) -> square(12); Recipe() -> Recipe().scaled(0.1); cutoff=4.0 -> cutoff=1.5
# test: (96, 96) -> (8,); steps=4000 -> steps=3, warmup=1; steps=1000 -> steps=4; Every(100) -> Every(2)
import torch

import nearsight as ns

lattice = ns.lattices.square(14)
model = ns.hamiltonians.Holstein(lattice, g=1.5, k=0.67 * 1.5, kappa=0.12 * 1.5)
exact = ns.ExactForceField(model, ns.solvers.Dense(mu=0.0, kT=0.05))  # half filling

# %% [markdown]
# ## Snapshots, split by trajectory

# %%
data = ns.training.generate(exact, ns.training.Recipe(), "holstein.zarr", seed=1, workers=1)
split = data.split(seed=1)

# %% [markdown]
# ## A network that cannot break a symmetry

# %%
descriptor = ns.descriptors.Irreps(lattice, model.field_type, cutoff=4.0)
learned = ns.LearnedForceField(descriptor, ns.networks.MLP((96, 96))) + exact.classical
learned = ns.training.fit(learned, split, options=ns.training.FitOptions(steps=4000))
errors = ns.training.evaluate(learned, split.test)["force"]
print(f"force error on unseen trajectories: {errors['rmse']:.4f} of {errors['label']:.4f} t per length (rms)")

# %% [markdown]
# ## The quench

# %%
large = ns.lattices.square(256)
rng = torch.Generator().manual_seed(11)
field = 0.1 * torch.randn(large.n_sites, 1, generator=rng)
scheme = ns.dynamics.Langevin(dt=0.05, kT=0.02, damping=0.2)
quench = ns.dynamics.simulate(
    learned.on(large),
    scheme,
    field,
    steps=1000,
    record=ns.dynamics.Every(100),
    rng=rng,
    guard=ns.dynamics.Guard(*data.field_range, factor=2.0),
)

# %% [markdown]
# ## Domains: how many bonds join opposite ones

# %%
phi = ns.analysis.staggered(quench.data.field.isel(component=0), large)
walls = ns.analysis.wall_density(ns.analysis.ising_sign(phi, large), large)
amplitude = (phi**2).mean("site") ** 0.5
for time, q, fraction in zip(quench.data.time.values, amplitude.values, walls.values, strict=True):
    print(f"t = {time:6.2f}: rms displacement {q:.3f}, {100 * fraction:.1f} % of the bonds cross a domain wall")
