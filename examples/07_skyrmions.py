# %% [markdown]
"""Skyrmions from electrons in ten minutes: exact torques of 36 × 36 spins, learned, then 150 × 150 spins.

Electrons on the triangular lattice that follow classical spins let skyrmions grow without any spin-orbit coupling. One
exact torque of 1296 spins takes half a second, and seventeen times as many spins would take a minute. The network is
invariant by construction when all spins turn together or the lattice is turned below them, and needs a few hundred
snapshots. Half of them come from quenched random spins and half from skyrmions that were shaken and relax. The lattice
must not be smaller: on 24 × 24 sites levels are so few that skyrmions of charge 2 per cell lie below those of charge 1.
"""

# %%
# test: steps=800 -> steps=3, warmup=1; triangular(36) -> triangular(12); triangular(150) -> triangular(24)
# test: steps=150 -> steps=4; Every(6, -> Every(2,; steps=250 -> steps=5; Every(50, -> Every(5,
# test: channels=4, radii=(13.1, 2.1, 1.1) -> channels=1, radii=(1.1,)
import numpy as np
import torch

import nearsight as ns

lattice = ns.lattices.triangular(36)
runs = 3
model = ns.hamiltonians.skyrmion_magnet(lattice)  # t₁ = 1, t₃ = -0.85, J_σ = 1/2, B = 0.005
exact = ns.ExactForceField(model, ns.solvers.Poles(mu=-3.5, kT=0.02, tol=1e-5))
scheme = ns.dynamics.AB2Rotation(dt=4.0, kT=0.0, damping=0.2, tangent=True)
rng = torch.Generator().manual_seed(1)

# %% [markdown]
# ## Exact electrons move two kinds of spins

# %%
crystal = ns.fields.skyrmion_lattice(lattice, magnetisation=0.5)
shaken = [ns.fields.perturbed(crystal, spread, rng) for spread in np.linspace(0.1, 0.6, runs)]
starts = torch.cat([ns.fields.random_spins(lattice, rng, runs), torch.stack(shaken)])
trajectories = ns.dynamics.simulate(
    exact, scheme, starts, steps=150, record=ns.dynamics.Every(6, fields=("field", "force")), rng=rng
).data.transpose("replica", "record", "site", "component")
count = trajectories.sizes["record"]
data = ns.training.DataSet.from_arrays(
    lattice=lattice,
    field=trajectories.field.values.reshape(-1, lattice.n_sites, 3),
    force=trajectories.force.values.reshape(-1, lattice.n_sites, 3),
    trajectory=np.repeat(np.arange(2 * runs), count),
    kind=np.repeat([ns.training.KINDS.index(k) for k in ("relaxing", "near_equilibrium")], runs * count),
    components=3,
)

# %% [markdown]
# ## Only the torque is learned; the field along z is known

# %%
split = data.split(validation=0.25, test=0.25, seed=1)
network = ns.networks.SpinCNN(lattice, model.field_type, channels=4, radii=(13.1, 2.1, 1.1), head="force")
learned = ns.LearnedForceField(network) + exact.classical
options = ns.training.FitOptions(steps=800, batch_size=4, component="tangent")
learned = ns.training.fit(learned, split, options=options)
errors = ns.training.evaluate(learned, split.test, component="tangent")["force"]
relative, degrees = errors["relative"], errors["angle"]["median"]
print(f"torques of trajectories it has not seen: {100 * relative:.0f} % off, median angle {degrees:.0f}°")

# %% [markdown]
# ## A quench of 22500 spins: when do skyrmions appear?

# %%
large = ns.lattices.triangular(150)
quench = ns.dynamics.simulate(
    learned.on(large),
    scheme,
    ns.fields.random_spins(large, rng),
    steps=250,
    record=ns.dynamics.Every(50, fields=("field",)),
    rng=rng,
).data
spins = quench.field
charge = ns.analysis.topological_charge(spins, large)
cores = ns.analysis.count_skyrmions(spins, large)
for k, time in enumerate(quench.time.values):
    positive, negative, trivial = (int(cores[name][k]) for name in ("positive", "negative", "trivial"))
    print(
        f"t = {time:5.0f}: charge {float(charge[k]):+6.1f}, {positive} positive and {negative} negative cores, "
        f"{trivial} stripes and bubbles, magnetisation {float(spins[k, :, 2].mean()):.3f}"
    )
print(f"a perfect lattice would have {large.n_sites // 48} of one sign")

# %% [markdown]
# ## S^z at the first, a middle and the last record

# %%
shown = [0, spins.sizes["record"] // 2, spins.sizes["record"] - 1]
picture = ns.plots.maps(spins[shown].swap_dims(record="time"), large)
picture.savefig("skyrmions.png")
