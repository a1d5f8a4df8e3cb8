# SPDX-License-Identifier: Apache-2.0
"""How many decimals the major unit of a currency has: the minor units of ISO 4217, list one."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["EXPONENTS", "USUAL_EXPONENT"]

USUAL_EXPONENT = 2

_BY_EXPONENT = {
    0: "108 152 174 262 324 352 392 410 548 600 646 704 800 940 950 952 953",
    3: "048 368 400 414 434 512 788",
    4: "927 990",
}
EXPONENTS: Mapping[int, int] = {
    int(code): exponent for exponent, codes in _BY_EXPONENT.items() for code in codes.split()
}
"""By numeric code, of the currencies that have not two."""
