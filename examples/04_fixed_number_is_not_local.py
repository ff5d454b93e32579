# %% [markdown]
"""A density at fixed chemical potential is local; at fixed number of electrons it is not.

A level that crosses the Fermi energy anywhere moves μ, and with it the densities of every site. How much of a density
is out of reach of any local force field for this reason? The answer is why
students learn at fixed μ. The cure is one number found at run time: a uniform shift of the field is a shift of μ.
"""

# %%
# test: (8, 16, 24) -> (4, 6); 40 -> 3
import torch

import nearsight as ns

kT, relaxation = 0.1, 40
for side in (8, 16, 24):
    lattice = ns.lattices.square(side)
    model = ns.hamiltonians.Holstein(lattice, g=1.5, k=1.005, kappa=0.18)
    rng = torch.Generator().manual_seed(1)
    field = 0.5 * torch.randn(8, lattice.n_sites, 1, generator=rng, dtype=torch.float64)

    fixed_mu = ns.ExactForceField(model, ns.solvers.Dense(mu=0.0, kT=kT))
    scheme = ns.dynamics.Brownian(dt=0.05, kT=0.0, damping=0.3)
    state = scheme.start(field, fixed_mu, rng)
    for _ in range(relaxation):  # into the domains that a quench goes through
        state = scheme.step(state, fixed_mu, rng)

    # At fixed number a uniform shift of Q only shifts μ: compare at zero mean, where both agree as well as they can.
    field = state.field - state.field.mean(-2, keepdim=True)
    fixed_number = ns.ExactForceField(model, ns.solvers.Dense(filling=0.5, kT=kT))
    electrons = fixed_number.electrons.electrons(field)
    difference = electrons.rho - fixed_mu.electrons.electrons(field).rho
    print(
        f"{lattice}: densities at fixed number and at μ = 0 differ by {float(difference.std()):.4f} (std), "
        f"{float(difference.abs().max()):.3f} at most; μ strays by {float(electrons.mu.std()):.3f} t"
    )

    shifted = ns.forcefields.FixedNumber(fixed_mu.electrons, mean_force=0.0)
    rest = shifted(field).force / model.g + 0.5 - electrons.rho.unsqueeze(-1)
    print(f"    with the shift that makes the densities add up: {float(rest.std()):.0e}")
