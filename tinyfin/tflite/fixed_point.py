# SPDX-License-Identifier: Apache-2.0
"""TFLM's integer arithmetic on plain Python integers: exact, slow, used while compiling.

Everything here answers what TFLM answers, bit for bit: multipliers taken in double precision,
gemmlowp's double rounding, and the fixed-point logistic and tanh of its int8 kernels. Sources of
the definitions: TFLM ``kernels/internal/quantization_util.cc`` and ``reference/integer_ops``,
gemmlowp ``fixedpoint/fixedpoint.h``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = [
    "int32",
    "logistic_code",
    "multiply_by_quantized_multiplier",
    "quantize_multiplier",
    "round_half_away",
    "softmax_exps",
    "tanh_code",
]

_MIN, _MAX = -(1 << 31), (1 << 31) - 1
_ONE = _MAX  # 1.0 with no integer bits


def int32(x: int) -> int:
    """x modulo 2^32, as a signed number: what a 32-bit register keeps."""
    return ((x + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def round_half_away(x: float) -> int:
    """Nearest integer, halves away from zero (C's ``round``)."""
    return math.floor(x + 0.5) if x >= 0 else -math.floor(-x + 0.5)


def quantize_multiplier(real: float) -> tuple[int, int]:
    """``(q, shift)`` with real = q * 2^(shift - 31), q in [2^30, 2^31), as QuantizeMultiplier.

    q is 0 for zero and for anything below about 2^-32. ``real`` is a double, not negative.
    """
    if real == 0.0:
        return 0, 0
    mantissa, shift = math.frexp(real)
    q = round_half_away(mantissa * (1 << 31))
    if q == 1 << 31:
        q //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    return q, shift


def _high_mul(a: int, b: int) -> int:
    """SaturatingRoundingDoublingHighMul: a * b / 2^31 rounded, halves towards plus infinity."""
    if a == b == _MIN:
        return _MAX
    return (a * b + (1 << 30)) >> 31


def _divide_by_pot(x: int, exponent: int) -> int:
    """RoundingDivideByPOT: x / 2^exponent rounded, halves away from zero."""
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (1 if x < 0 else 0)
    return (x >> exponent) + (1 if (x & mask) > threshold else 0)


def multiply_by_quantized_multiplier(x: int, q: int, shift: int) -> int:
    """x * q * 2^(shift - 31), rounded twice as TFLM's default build rounds."""
    left, right = max(shift, 0), max(-shift, 0)
    return _divide_by_pot(_high_mul(int32(x << left), q), right)


def _shift_left_saturating(x: int, n: int) -> int:
    return min(max(x << n, _MIN), _MAX)


_EXP = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)


def _exp_quarter(a: int) -> int:
    """exp(a) for a in [-1/4, 0), no integer bits: Taylor around -1/8."""
    x = int32(a + (1 << 28))
    x2 = _high_mul(x, x)
    x3 = _high_mul(x2, x)
    x4_over_4 = _divide_by_pot(_high_mul(x2, x2), 2)
    tail = _divide_by_pot(int32(_high_mul(int32(x4_over_4 + x3), 715827883) + x2), 1)
    e = 1895147668  # exp(-1/8)
    return int32(e + _high_mul(e, int32(x + tail)))


def _exp_negative(a: int, integer_bits: int) -> int:
    """exp(a) for a <= 0 with ``integer_bits`` integer bits (5 at most); result has none."""
    if a == 0:
        return _ONE
    fraction = 31 - integer_bits
    quarter = 1 << (fraction - 2)
    base = (a & (quarter - 1)) - quarter
    result = _exp_quarter(_shift_left_saturating(base, integer_bits))
    remainder = int32(base - a)
    for k, factor in enumerate(_EXP):
        exponent = k - 2
        if integer_bits > exponent and remainder & (1 << (fraction + exponent)):
            result = _high_mul(result, factor)
    return result


def _reciprocal(a: int) -> tuple[int, int]:
    """Newton's iteration for 1 / ((1 + a) / 2), two integer bits."""
    total = a + _ONE
    half = (total + 1) // 2 if total >= 0 else -((-total + 1) // 2)
    x = int32(1515870810 + _high_mul(half, -1010580540))
    for _ in range(3):
        error = int32((1 << 29) - _high_mul(half, x))
        x = int32(x + _shift_left_saturating(_high_mul(x, error), 2))
    return x, half


def _logistic(a: int) -> int:
    if a == 0:
        return 1 << 30
    x, _ = _reciprocal(_exp_negative(-abs(a), 4))
    positive = _shift_left_saturating(x, 1)
    return positive if a > 0 else int32(_ONE - positive)


def _tanh(a: int) -> int:
    if a == 0:
        return 0
    # 2 * -|a| keeps its raw value with one integer bit more
    x, _ = _reciprocal(_exp_negative(-abs(a), 5))
    t = _shift_left_saturating(int32(x - (1 << 29)), 2)
    return t if a > 0 else int32(-t)


def _activation(
    function: Callable[[int], int], code: int, scale: float, zero_point: int, bits: int, offset: int
) -> int:
    mantissa, shift = math.frexp(scale * float(1 << 27))
    q = round_half_away(mantissa * (1 << 31))
    if q == 1 << 31:  # as an int32 it would wrap; scales are float32, so it cannot be
        raise ValueError(f"scale {scale}")
    radius = math.floor(15.0 * float(1 << 27) / 2.0**shift)
    x = code - zero_point
    if x <= -radius:
        return -128
    if x >= radius:
        return 127
    raw = function(multiply_by_quantized_multiplier(x, q, shift))
    return min(max(_divide_by_pot(raw, 31 - bits) + offset, -128), 127)


def logistic_code(code: int, scale: float, zero_point: int) -> int:
    """What TFLM's int8 LOGISTIC answers for an input code (output scale 1/256, zero point -128)."""
    return _activation(_logistic, code, scale, zero_point, 8, -128)


def tanh_code(code: int, scale: float, zero_point: int) -> int:
    """What TFLM's int8 TANH answers for an input code (output scale 1/128, zero point 0)."""
    return _activation(_tanh, code, scale, zero_point, 7, 0)


def softmax_exps(real: float) -> list[int]:
    """exp(-d) * 2^31 as TFLM's int8 SOFTMAX takes it, for d = 0, 1, ... codes below the largest.

    ``real``: beta times the input's scale times 2^26, above 1. The list ends where TFLM stops
    counting, at most at d = 255.
    """
    q, shift = quantize_multiplier(min(real, float((1 << 31) - 1)))
    radius = math.floor(31 * float(1 << 26) / 2.0**shift)
    return [_exp_negative(_high_mul(int32(-d << shift), q), 5) for d in range(min(radius, 255) + 1)]
