"""Vectors of chains: what one site of a model of two states needs, 16 chains in one register.

Spins s = ±1 are bytes ``(site, chain)``; the chains of a site lie side by side in memory. Compilers make poor code of
loops that mix bytes and words, so the steps here are written in the vector instructions of LLVM, which run on any
processor, with the same results. They take addresses, and check nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic as _intrinsic

from nearsight.sampling._checkerboard import RARE

WIDTH = 16
"""Chains of a vector; the last vector is filled up with chains that never change."""
NEVER = -128
"""The limit of a draw that accepts nothing."""

INDEX, BYTE, WORD, SINGLE, DOUBLE = ir.IntType(64), ir.IntType(8), ir.IntType(32), ir.FloatType(), ir.DoubleType()
BYTES, WORDS, SINGLES, DOUBLES = (ir.VectorType(kind, WIDTH) for kind in (BYTE, WORD, SINGLE, DOUBLE))
intrinsic: Any = _intrinsic
at = types.intp
"""Type of an address."""


def _constant(kind: ir.VectorType, value: float) -> ir.Constant:
    return ir.Constant(kind, [value] * WIDTH)


def _splat(builder: Any, scalar: Any) -> Any:
    """A vector of equal elements."""
    kind = ir.VectorType(scalar.type, WIDTH)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(WORD, 0))
    return builder.shuffle_vector(first, first, ir.Constant(WORDS, [0] * WIDTH))


def _pointer(builder: Any, address: Any, kind: Any, offset: Any = 0, unit: int = 1) -> Any:
    """A pointer to ``offset`` units of bytes behind an address."""
    if isinstance(offset, int):
        offset = ir.Constant(INDEX, offset)
    far = builder.mul(offset, ir.Constant(INDEX, unit))
    return builder.inttoptr(builder.add(address, far), kind.as_pointer())


def _load(builder: Any, address: Any, kind: Any, offset: Any = 0, unit: int = 1) -> Any:
    return builder.load(_pointer(builder, address, kind, offset, unit), align=1)


def _store(builder: Any, value: Any, address: Any, offset: Any = 0, unit: int = 1) -> None:
    builder.store(value, _pointer(builder, address, value.type, offset, unit), align=1)


@contextmanager
def _sum_over(builder: Any, first: Any, last: Any, total: Any) -> Iterator[tuple[Any, Any]]:
    """A loop over whole numbers ``first``..``last`` - 1 that changes what stands at the pointer ``total``."""
    with cgutils.for_range_slice(builder, first, last, ir.Constant(INDEX, 1), INDEX) as (k, _):
        yield k, total


def _neighbour(builder: Any, spins: Any, stride: Any, index: Any, k: Any) -> Any:
    """The spins of the k-th neighbour."""
    site = builder.sext(_load(builder, index, WORD, k, 4), INDEX)
    return _load(builder, builder.add(spins, builder.mul(site, stride)), BYTES)


def _field(builder: Any, spins: Any, stride: Any, index: Any, plus: Any, minus: Any) -> Any:
    """Sum of the neighbours ``index[:plus]`` minus that of ``index[plus:minus]``, as bytes."""
    total = cgutils.alloca_once_value(builder, _constant(BYTES, 0))
    builder.store(_constant(BYTES, 0), total)
    for first, last, join in ((ir.Constant(INDEX, 0), plus, builder.add), (plus, minus, builder.sub)):
        with _sum_over(builder, first, last, total) as (k, _):
            builder.store(join(builder.load(total), _neighbour(builder, spins, stride, index, k)), total)
    return builder.load(total)


@intrinsic
def draw(context, streams, stride, draws):
    """31 random bits for every chain from its xoshiro128++ generator (of four words, ``stride`` bytes apart); whether
    any is below ``RARE``."""

    def write(context, builder, signature, arguments):
        streams, stride, draws = arguments
        places = [builder.add(streams, builder.mul(stride, ir.Constant(INDEX, k))) for k in range(4)]
        p, q, r, t = (_load(builder, place, WORDS) for place in places)

        def rotate(x, by):
            return builder.or_(builder.shl(x, _constant(WORDS, by)), builder.lshr(x, _constant(WORDS, 32 - by)))

        y = builder.add(rotate(builder.add(p, t), 7), p)
        bits = builder.lshr(y, _constant(WORDS, 1))
        _store(builder, bits, draws)
        r, t, shifted = builder.xor(r, p), builder.xor(t, q), builder.shl(q, _constant(WORDS, 9))
        new = builder.xor(p, t), builder.xor(q, r), builder.xor(r, shifted), rotate(t, 11)
        for value, place in zip(new, places, strict=True):
            _store(builder, value, place)
        rare = builder.icmp_signed("<", bits, _constant(WORDS, RARE))
        return builder.icmp_unsigned("!=", builder.bitcast(rare, ir.IntType(WIDTH)), ir.Constant(ir.IntType(WIDTH), 0))

    return types.boolean(at, at, at), write


@intrinsic
def find_limits(context, draws, table, stride, steps, levels, limits):
    """The largest s f that the draw of every chain accepts: ``table`` (level, chain) of words, rows ``stride`` bytes
    apart, and the ``steps`` of s f from ``NEVER`` to the first level and from each to the next."""

    def write(context, builder, signature, arguments):
        draws, table, stride, steps, levels, limits = arguments
        bits = _load(builder, draws, WORDS)
        total = cgutils.alloca_once_value(builder, _constant(WORDS, NEVER))
        builder.store(_constant(WORDS, NEVER), total)
        with _sum_over(builder, ir.Constant(INDEX, 0), levels, total) as (k, _):
            odds = _load(builder, builder.add(table, builder.mul(k, stride)), WORDS)
            step = _splat(builder, _load(builder, steps, WORD, k, 4))
            gained = builder.select(builder.icmp_signed("<", bits, odds), step, _constant(WORDS, 0))
            builder.store(builder.add(builder.load(total), gained), total)
        _store(builder, builder.trunc(builder.load(total), BYTES), limits)

    return types.void(at, at, at, at, at, at), write


@intrinsic
def turn_within(context, spins, own, stride, index, plus, minus, up, down):
    """Reverse the spins of the site at ``own`` whose s f is within the limit of their sign; neighbours are spins
    ``index[:plus]`` with coupling 1 and ``index[plus:minus]`` with -1, sites ``stride`` bytes apart."""

    def write(context, builder, signature, arguments):
        spins, own, stride, index, plus, minus, up, down = arguments
        field, s = _field(builder, spins, stride, index, plus, minus), _load(builder, own, BYTES)
        positive = builder.icmp_signed(">", s, _constant(BYTES, 0))
        along = builder.select(positive, field, builder.neg(field))
        limit = builder.select(positive, _load(builder, up, BYTES), _load(builder, down, BYTES))
        _store(builder, builder.select(builder.icmp_signed("<=", along, limit), builder.neg(s), s), own)

    return types.void(at, at, at, at, at, at, at, at), write


@intrinsic
def add_alignment(context, spins, own, stride, index, plus, minus, total):
    """Add s f of a site to the words ``total``, with neighbours as in :func:`turn_within`."""

    def write(context, builder, signature, arguments):
        spins, own, stride, index, plus, minus, total = arguments
        field, s = _field(builder, spins, stride, index, plus, minus), _load(builder, own, BYTES)
        along = builder.select(builder.icmp_signed(">", s, _constant(BYTES, 0)), field, builder.neg(field))
        _store(builder, builder.add(_load(builder, total, WORDS), builder.sext(along, WORDS)), total)

    return types.void(at, at, at, at, at, at, at), write


@intrinsic
def add_bond(context, first, second, strength, total):
    """Add strength × s s' of a bond to the doubles ``total``."""

    def write(context, builder, signature, arguments):
        first, second, strength, total = arguments
        product = builder.mul(_load(builder, first, BYTES), _load(builder, second, BYTES))
        value = builder.fmul(builder.sitofp(product, DOUBLES), _splat(builder, strength))
        _store(builder, builder.fadd(_load(builder, total, DOUBLES), value), total)

    return types.void(at, at, types.float64, at), write


def _exponential_coefficients(degree: int) -> list[float]:
    """Coefficients of 2^x on [0, 1], lowest first."""
    nodes = (np.cos((2 * np.arange(32) + 1) * np.pi / 64) + 1) / 2
    fit = np.polynomial.Chebyshev.fit(nodes, np.exp2(nodes), degree, domain=[0, 1])
    return [float(np.float32(c)) for c in fit.convert(kind=np.polynomial.Polynomial).coef]


SERIES = _exponential_coefficients(7)


def _power_of_two(builder: Any, x: Any) -> Any:
    """2^x of singles within ±126, right to 2e-7."""
    kind = ir.FunctionType(SINGLES, [SINGLES])
    floor = cgutils.get_or_insert_function(builder.module, kind, f"llvm.floor.v{WIDTH}f32")
    whole = builder.call(floor, [x])
    rest = builder.fsub(x, whole)
    value = _constant(SINGLES, SERIES[-1])
    for coefficient in SERIES[-2::-1]:
        value = builder.fadd(builder.fmul(value, rest), _constant(SINGLES, coefficient))
    exponent = builder.shl(builder.add(builder.fptosi(whole, WORDS), _constant(WORDS, 127)), _constant(WORDS, 23))
    return builder.fmul(value, builder.bitcast(exponent, SINGLES))


@intrinsic
def turn_by_odds(context, spins, own, stride, index, strength, slots, start, scale, draws, heat_bath, tried, fields):
    """Reverse the spins of the site at ``own`` with the odds of s f, f = ``start`` + Σ ``strength`` × neighbour, a
    single at ``fields`` afterwards: exp(-x) or a heat bath's 1/(1 + exp(x)) with x = ln 2 × ``scale`` × s f. Chains
    with draws below ``RARE`` are left alone."""

    def write(context, builder, signature, arguments):
        spins, own, stride, index, strength, slots, start, scale, draws, heat_bath, tried, fields = arguments
        total = cgutils.alloca_once_value(builder, _constant(SINGLES, 0.0))
        builder.store(_splat(builder, start), total)
        with _sum_over(builder, ir.Constant(INDEX, 0), slots, total) as (k, _):
            s = builder.sitofp(_neighbour(builder, spins, stride, index, k), SINGLES)
            coupling = _splat(builder, _load(builder, strength, SINGLE, k, 4))
            builder.store(builder.fadd(builder.load(total), builder.fmul(coupling, s)), total)
        f, s = builder.load(total), _load(builder, own, BYTES)
        _store(builder, f, fields)
        x = builder.fmul(builder.fmul(f, builder.sitofp(s, SINGLES)), _load(builder, scale, SINGLES))
        bath = _splat(builder, builder.icmp_signed("!=", heat_bath, ir.Constant(heat_bath.type, 0)))
        lowest = builder.select(bath, _constant(SINGLES, -126.0), _constant(SINGLES, 0.0))
        x = builder.select(builder.fcmp_ordered(">", x, lowest), x, lowest)
        x = builder.select(builder.fcmp_ordered("<", x, _constant(SINGLES, 126.0)), x, _constant(SINGLES, 126.0))
        weight = _power_of_two(builder, x)
        weight = builder.select(bath, builder.fadd(weight, _constant(SINGLES, 1.0)), weight)
        bits = _load(builder, draws, WORDS)
        u = builder.fmul(
            builder.fadd(builder.sitofp(bits, SINGLES), _constant(SINGLES, 0.5)), _constant(SINGLES, 2.0**-31)
        )
        accepted = builder.fcmp_ordered("<", builder.fmul(u, weight), _splat(builder, tried))
        accepted = builder.and_(accepted, builder.icmp_signed(">=", bits, _constant(WORDS, RARE)))
        _store(builder, builder.select(accepted, builder.neg(s), s), own)

    single = types.float32
    return types.void(at, at, at, at, at, at, single, at, at, types.int64, single, at), write
