"""Compiled loops over interactions: sums over clusters, environments of sites, heat bath."""

from __future__ import annotations

import math

import numba
import numpy as np

from nearsight.sampling._streams import U64, kernel, uniform

M1, M2, M4 = U64(0x5555555555555555), U64(0x3333333333333333), U64(0x0F0F0F0F0F0F0F0F)
H01 = U64(0x0101010101010101)
CHUNK = 2048
"""Snapshots whose numbers stay in the fastest cache."""


@numba.njit(nogil=True, cache=True)
def sum_clusters(states, sites, first, term, table_at, tables, q, values):
    """Add the tables of all clusters to ``values`` (snapshot, term); ``states`` are (site, snapshot), -1 unseen."""
    n = states.shape[1]
    code = np.empty(n, np.int64)
    for c in range(len(term)):
        code[:] = 0
        for m in range(first[c], first[c + 1]):
            column = states[sites[m]]
            for r in range(n):
                code[r] = code[r] * q + column[r] if column[r] >= 0 else -(2**40)
        base, k = table_at[c], term[c]
        for r in range(n):
            if code[r] >= 0:
                values[r, k] += tables[base + code[r]]


@numba.njit(inline="always")
def _ones(x):
    x -= (x >> U64(1)) & M1
    x = (x & M2) + ((x >> U64(2)) & M2)
    x = (x + (x >> U64(4))) & M4
    return np.int64((x * H01) >> U64(56))


@numba.njit(nogil=True, cache=True)
def words_of_snapshots(states):
    """Spins ``(snapshot, site)`` of 0 and 1 as words ``(site, word)`` of 64 snapshots each."""
    rows, n = states.shape
    words = np.zeros((n, (rows + 63) // 64), np.uint64)
    for r in range(rows):
        w, bit = r // 64, U64(r % 64)
        for i in range(n):
            words[i, w] |= U64(states[r, i]) << bit
    return words


@numba.njit(nogil=True, cache=True)
def sum_products(words, rows, sites, first, term, totals):
    """Add to ``totals`` (term,) the products of the spins of all clusters, of ``rows`` snapshots in words."""
    n_words = words.shape[1]
    last = U64(2**64 - 1) if rows % 64 == 0 else (U64(1) << U64(rows % 64)) - U64(1)
    for c in range(len(term)):
        start, end = first[c], first[c + 1]
        odd = 0
        for w in range(n_words):
            x = words[sites[start], w]
            for m in range(start + 1, end):
                x ^= words[sites[m], w]
            if w == n_words - 1:
                x &= last
            odd += _ones(x)
        # A product of n spins s = 2a - 1 with an odd number of ones is (-1)^(n+1).
        sign = 1 if (end - start) % 2 else -1
        totals[term[c]] += sign * (2 * odd - rows)


@numba.njit(nogil=True, cache=True)
def count_environments(states, block, members, q, counts):
    """Count the codes of a site and its environment, ``members`` (site, member), in every block, where all are seen."""
    for r in range(len(states)):
        for s in range(len(members)):
            code = 0
            seen = True
            for m in range(members.shape[1]):
                a = states[r, members[s, m]]
                seen &= a >= 0
                code = code * q + a
            if seen:
                counts[block[r], code] += 1


@numba.njit(nogil=True, cache=True)
def count_sums(states, block, members, q, first, position, add, add_at, own, counts):
    """Count the numbers of a site in its surroundings (``ClusterSums``) in every block, where all are seen.

    ``states`` are (site, snapshot), -1 unseen: all loops but the last run along snapshots.
    """
    number, code = np.empty(CHUNK, np.int32), np.empty(CHUNK, np.int32)
    unseen = np.empty(CHUNK, np.int8)
    for start in range(0, states.shape[1], CHUNK):
        n = min(CHUNK, states.shape[1] - start)
        for s in range(len(members)):
            unseen[:n] = 0
            for m in range(members.shape[1]):
                column = states[members[s, m], start : start + n]
                for r in range(n):
                    unseen[r] |= column[r]  # -1 has the sign bit, which stays
            column = states[members[s, 0], start : start + n]
            for r in range(n):
                number[r] = max(column[r], 0) * own
            for e in range(len(add_at)):
                code[:n] = 0
                for m in range(first[e], first[e + 1]):
                    column = states[members[s, position[m]], start : start + n]
                    for r in range(n):
                        code[r] = code[r] * q + max(column[r], 0)
                table = add[add_at[e] :]
                for r in range(n):
                    number[r] += table[code[r]]
            for r in range(n):
                if unseen[r] >= 0:
                    counts[block[start + r], number[r]] += 1


@numba.njit(nogil=True, cache=True)
def features(records, local, table_at, first, position, tables, q, out):
    """Add to ``out`` (record, state, term) what the clusters of a site count, for every state the site may have.

    A record is the states of the site and of its environment; cluster e has the others at ``position[first[e] :]``.
    """
    for r in range(len(records)):
        for e in range(len(local)):
            code = 0
            for m in range(first[e], first[e + 1]):
                code = code * q + records[r, position[m]]
            base = table_at[e] + code * q
            for a in range(q):
                out[r, a, local[e]] += tables[base + a]


@numba.njit(nogil=True)
def _weights(state, site, start, term_at, first, others, scaled, q, log_weight):
    """ln of the weight of every state of a site in its surroundings."""
    log_weight[:] = 0.0
    for e in range(start[site], start[site + 1]):
        code = 0
        for m in range(first[e], first[e + 1]):
            code = code * q + state[others[m]]
        base = term_at[e] + code * q
        for a in range(q):
            log_weight[a] += scaled[base + a]


@kernel
def heat_bath(states, start, term_at, first, others, scaled, q, streams, sweeps):
    """``sweeps`` sweeps of chains ``(chain, site)``; ``scaled`` are the tables times their couplings over kT."""
    log_weight = np.empty(q)
    for c in range(len(states)):
        state, rng = states[c], streams[c]
        for _ in range(sweeps):
            for i in range(states.shape[1]):
                _weights(state, i, start, term_at, first, others, scaled, q, log_weight)
                if q == 2:
                    state[i] = 1 if uniform(rng) * (1.0 + math.exp(log_weight[0] - log_weight[1])) < 1.0 else 0
                else:
                    top = log_weight.max()
                    total = 0.0
                    for a in range(q):
                        log_weight[a] = math.exp(log_weight[a] - top)
                        total += log_weight[a]
                    left = uniform(rng) * total
                    new = 0
                    while new < q - 1 and left >= log_weight[new]:
                        left -= log_weight[new]
                        new += 1
                    state[i] = new


@numba.njit(nogil=True, cache=True)
def measure(states, start, term_at, first, others, term, size, tables, scaled, q, phi, score):
    """Statistics φ ``(chain, term)`` and scores of the pseudo-likelihood, whose mean in equilibrium is exactly zero."""
    log_weight = np.empty(q)
    phi[:] = 0.0
    score[:] = 0.0
    for c in range(len(states)):
        state = states[c]
        for i in range(states.shape[1]):
            _weights(state, i, start, term_at, first, others, scaled, q, log_weight)
            top, total = log_weight.max(), 0.0
            for a in range(q):
                log_weight[a] = math.exp(log_weight[a] - top)
                total += log_weight[a]
            for e in range(start[i], start[i + 1]):
                code = 0
                for m in range(first[e], first[e + 1]):
                    code = code * q + state[others[m]]
                base = term_at[e] + code * q
                mean = 0.0
                for a in range(q):
                    mean += log_weight[a] * tables[base + a]
                own = tables[base + state[i]]
                phi[c, term[e]] += own / size[e]
                score[c, term[e]] += own - mean / total
