/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of operators_window.c on a core with wide words: no branch depends on the data, for a
 * wrong guess costs more than the buckets. */
#ifndef TINYFIN_WINDOW_LANES_H
#define TINYFIN_WINDOW_LANES_H

#include "internal.h"

#define TFIN_OWN_RING

/* ceil(2^64 / d); 0 for 1 */
#define RECIPROCAL(d) ((d) < 2u ? 0u : UINT64_MAX / (d) + 1u)

/* x / d for any 32-bit x, from RECIPROCAL(d). Lemire, Kaser, Kurz: Faster remainder by
 * direct computation, 2019. */
static inline uint32_t quotient(uint32_t x, uint64_t reciprocal)
{
    return reciprocal == 0 ? x : (uint32_t)((unsigned __int128)reciprocal * x >> 64);
}

#define R8(d)                                                                                      \
    RECIPROCAL(d), RECIPROCAL(d + 1u), RECIPROCAL(d + 2u), RECIPROCAL(d + 3u), RECIPROCAL(d + 4u), \
        RECIPROCAL(d + 5u), RECIPROCAL(d + 6u), RECIPROCAL(d + 7u)
static const uint64_t reciprocals[65] = {0,       R8(1u),  R8(9u),  R8(17u), R8(25u),
                                         R8(33u), R8(41u), R8(49u), R8(57u)};

static inline uint32_t ring_at(uint32_t epoch, uint32_t n)
{
    return epoch - n * quotient(epoch, reciprocals[n]);
}

/* Ones in bytes below k of a word, -128 <= k <= 128: eight bytes of this table. */
#define F8 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff
#define F64 F8, F8, F8, F8, F8, F8, F8, F8
static const uint8_t below_table[2 * 128 + 8] = {F64, F64};

static inline uint64_t below(int32_t k)
{
    uint64_t mask;
    memcpy(&mask, below_table + 128 - k, sizeof mask);
    return mask;
}

/* Ones where the word's bytes, from byte `first` of the ring on, belong to the `count` buckets of a
 * byte that end at bucket `at`. */
static inline uint64_t bytes_of(int32_t n, int32_t at, int32_t count, int32_t first)
{
    int32_t end = at + 1 - first;
    return (below(end) & ~below(end - count)) | (below(n - first) & ~below(end - count + n));
}

/* The words of a ring of bytes reach into what follows it in memory, which is there: of a
 * terminal's state the scratch, of no_card its rest. */
static inline uint64_t word(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t bucket(const uint8_t *p, uint32_t width, uint32_t i)
{
    return width == 2 ? tfin_u16(p + 2u * i)
                      : (width == 4 ? tfin_u32(p + 4u * i) : tfin_u64(p + 8u * i));
}

static inline uint64_t ring_sum(uint64_t sum, const uint8_t *p, uint32_t width, uint32_t n,
                                uint32_t at, uint32_t count)
{
    if (width == 1) {
        uint64_t pairs = 0; /* of bytes: 16 words of them stay below 2^16 */
        uint32_t first = 0;
        do {
            uint64_t v =
                word(p + first) & bytes_of((int32_t)n, (int32_t)at, (int32_t)count, (int32_t)first);
            pairs += (v & 0x00ff00ff00ff00ffu) + (v >> 8 & 0x00ff00ff00ff00ffu);
        } while ((first += 8u) < n);
        pairs = (pairs & 0x0000ffff0000ffffu) + (pairs >> 16 & 0x0000ffff0000ffffu);
        return sum + (uint32_t)pairs + (pairs >> 32);
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t back = at - i + (at < i ? n : 0);
        sum += bucket(p, width, i) & (0u - (uint64_t)(back < count));
        if (width == 8) {
            sum = sum > (uint64_t)REGISTER_MAX ? (uint64_t)REGISTER_MAX : sum;
        }
    }
    return sum;
}

static inline void ring_clear(uint8_t *p, uint32_t width, uint32_t n, uint32_t at, uint32_t count)
{
    if (width == 1) {
        uint32_t first = 0;
        do {
            uint64_t v = word(p + first) &
                         ~bytes_of((int32_t)n, (int32_t)at, (int32_t)count, (int32_t)first);
            memcpy(p + first, &v, sizeof v);
        } while ((first += 8u) < n);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t back = at - i + (at < i ? n : 0);
        uint64_t v = bucket(p, width, i) & (0u - (uint64_t)(back >= count));
        if (width == 2) {
            tfin_put16(p + 2u * i, (uint16_t)v);
        } else if (width == 4) {
            tfin_put32(p + 4u * i, (uint32_t)v);
        } else {
            tfin_put64(p + 8u * i, v);
        }
    }
}

#endif
