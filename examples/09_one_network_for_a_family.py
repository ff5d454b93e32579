# %% [markdown]
"""Where charge order melts, for all couplings and temperatures, from one learned force field.

Electrons of the Holstein model are learned once, for g from 1 to 2 and kT from 0.05 to 0.2. At every point of the
(g, kT) plane the same network, with its channels scaled for that point, carries a Langevin run from the ordered state;
the order that is left makes the map. Small lattices with exact electrons and audits of the large ones stand beside it.
"""

# %%
# test: SIZE, STEPS = 32, 250 -> SIZE, STEPS = 8, 4; POINTS = 7, 5 -> POINTS = 2, 2; scaled(1.0) -> scaled(0.1)
# test: steps=1500 -> steps=6; warmup=100 -> warmup=2; validate_every=150 -> validate_every=3; sites=200 -> sites=20
import numpy as np
import torch
import xarray as xr

import nearsight as ns

SIZE, STEPS = 32, 250  # the full map, hours on one core: 128, 2000
POINTS = 7, 5  # of g and kT; of the full map: 21, 16

BOX = {"g": (1.0, 2.0), "kT": (0.05, 0.2)}
lattice = ns.lattices.square(12)
springs = ns.hamiltonians.Holstein(lattice, k=1.5, kappa=0.18)  # every coupling meets the same springs
exact = ns.ExactForceField(springs, ns.solvers.Dense(mu=0.0, kT=0.1))  # one member of the family

# %% [markdown]
# ## Snapshots: every trajectory has its own g and kT

# %%
descent = {"dt": 0.1, "wavevector": (0.5, 0.5), "amplitude": (0.5, 2.5), "shake": (0.02, 0.8), "steps": 40}
recipe = ns.training.Recipe(
    random={"trajectories": 40, "snapshots": 4, "amplitude": (0.2, 2.0)},
    thermal={"trajectories": 40, "snapshots": 6, "kT": BOX["kT"], "dt": 0.2, "mass": 1.0, "burn_in": 0, "every": 8},
    relaxing={"trajectories": 20, "snapshots": 6, "dt": 0.1, "steps": 60},
    near_equilibrium={"trajectories": 30, "snapshots": 5, **descent},
).scaled(1.0)
data = ns.training.generate(exact, recipe, "holstein_family.zarr", seed=1, parameters=BOX, workers=0)
print(data)

# %% [markdown]
# ## One network; g is a unit of the field, so that kT is all it has to know

# %%
network = ns.networks.GroupCNN(lattice, ns.fields.scalar(), channels=6, parity="odd", head="force")
family = ns.forcefields.LearnedFamily(network, exact, BOX)
options = ns.training.FitOptions(steps=1500, warmup=100, learning_rate=1e-2, weight_decay=0.1, validate_every=150)
split = data.split(seed=1)
ns.training.fit(family + exact.classical, split, options=options)
ns.forcefields.save(family, "holstein_family")
error = ns.training.evaluate(family + exact.classical, split.test)["force"]
print(
    f"learned: {family.reduced}; force error on unseen trajectories {error['rmse']:.4f} of {error['label']:.3f} (rms)"
)

# %% [markdown]
# ## What is left of a checkerboard


# %%
def order(forcefield, kT: float, *, replicas: int = 1, audit=None) -> tuple[np.ndarray, xr.Dataset | None]:
    """Mean staggered displacement ``(replica,)`` in the second half of runs from a checkerboard, and the audit."""
    there, rng = forcefield.lattice, torch.Generator().manual_seed(1)
    noise = torch.randn(replicas, there.n_sites, 1, generator=rng, dtype=torch.float64)
    field = torch.from_numpy((-1.0) ** there.cells.sum(1))[:, None] + 0.1 * noise
    scheme = ns.dynamics.Langevin(dt=0.2, mass=1.0, damping=0.3, kT=kT)
    every = ns.dynamics.Every(max(1, STEPS // 50))
    run = ns.dynamics.simulate(forcefield, scheme, field, steps=STEPS, record=every, rng=rng, audit=audit)
    Q = ns.analysis.staggered(run.data.field.isel(component=0), there).mean("site")
    return abs(Q.isel(record=slice(Q.sizes["record"] // 2, None)).mean("record")).values, run.audit


large = ns.lattices.square(SIZE)
g, kT = (np.linspace(*BOX[name], n) for name, n in zip(BOX, POINTS, strict=True))
plane = xr.DataArray(
    np.zeros(POINTS), coords={"g": g, "kT": kT}, name="Q", attrs={"long_name": "order Q", "units": "a"}
)
springs_alone = exact.classical.on(large)
for point in plane.stack(point=("g", "kT")).point.values:
    values = dict(zip(BOX, map(float, point), strict=True))
    one = family.with_parameters(**values).on(large) + springs_alone
    plane.loc[values] = order(one, values["kT"])[0].item()
print(plane.round(3).to_pandas().T.iloc[::-1])

# %% [markdown]
# ## Next to exact electrons: the same noise on the lattice of the snapshots, and audits of the large runs

# %%
for values in ({"g": 1.1, "kT": 0.06}, {"g": 1.4, "kT": 0.12}, {"g": 1.9, "kT": 0.19}):
    member, learned = exact.with_parameters(**values), family.with_parameters(**values)
    Q, learned_Q = (order(x, values["kT"], replicas=8)[0] for x in (member, learned + member.classical))
    error, difference = (x.std(ddof=1) / len(x) ** 0.5 for x in (learned_Q, learned_Q - Q))
    print(f"g = {values['g']}, kT = {values['kT']}: Q = {learned_Q.mean():.3f} ± {error:.3f} of 8 runs")
    print(f"    learned minus exact: {(learned_Q - Q).mean():+.3f} ± {difference:.3f}")
    audit = ns.Audit(learned.card.exact, sites=200, at=(STEPS,))
    found = order(learned.on(large) + springs_alone, values["kT"], audit=audit)[1].isel(audit=0)
    rms, low, high, scale = (float(found[name]) for name in ("rms", "rms_low", "rms_high", "scale"))
    print(f"    audited force error on {SIZE} × {SIZE} sites: {rms:.4f} [{low:.4f}, {high:.4f}] of {scale:.3f}")

# %% [markdown]
# ## The map, and where the bending of the potential at Q = 0 changes its sign on the infinite lattice without noise

# %%
k = 2 * np.pi * (np.arange(201) + 0.5) / 201
band = 2 * np.cos(k)[:, None] + 2 * np.cos(k)
gain = [np.mean(np.tanh(band / (2 * T)) / (2 * band)) for T in kT]
line = np.sqrt((springs.k - 4 * springs.kappa) / np.array(gain))
import matplotlib.pyplot as plt  # noqa: E402

figure, axis = plt.subplots(layout="constrained")
plane.T.plot(ax=axis)
axis.plot(line, kT, color="white", label="a still lattice orders to the right")
axis.set(xlabel="g", ylabel="kT (t)", xlim=BOX["g"], title=f"{SIZE} × {SIZE} sites, t = {0.2 * STEPS:g}")
axis.legend()
figure.savefig("family.png", dpi=150)
