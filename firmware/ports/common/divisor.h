/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TFIN_DIVISOR_H
#define TFIN_DIVISOR_H

#include <stdint.h>

/* What a clock of `hz` is divided by for `baud`, rounded; 0 when the result would be more than 2%
 * off: a byte of ten bits is read at its middle, so both ends together may be 5% off. */
static inline uint32_t tfin_divisor(uint32_t hz, uint32_t baud)
{
    uint32_t divisor = baud != 0 ? (hz + baud / 2u) / baud : 0;
    if (divisor == 0) {
        return 0;
    }
    uint32_t real = hz / divisor;
    uint32_t off = real > baud ? real - baud : baud - real;
    return off <= baud / 50u ? divisor : 0;
}

#endif
