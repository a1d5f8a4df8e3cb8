/* SPDX-License-Identifier: Apache-2.0 */
/* COMPROMISED: what labels say about a time in which a terminal or card was in the wrong hands.
 * {u32 newest day + 1, i16 sum[p2], padding to 4, u32 remembered[p3]}, both newest first. Evidence
 * is in 1/16 of log2. */
#include "../internal.h"

enum { DAY_S = 86400, SUMS = 4 };
enum { USUAL = 0, GENUINE = 2, LIMIT = 4, DURATIONS = 6, DURATION_SIZE = 4, PRIOR = 2 };

static uint8_t *remembered(const op *o, uint8_t *s)
{
    return s + tfin_round_up(SUMS + 2u * o->p2, 4);
}

/* Of the day that is so much older than the newest one; of a younger one `age` is far above. */
static int32_t sum_of(const op *o, const uint8_t *s, uint32_t age)
{
    return age < o->p2 ? tfin_i16(s + SUMS + 2u * age) : 0;
}

/* 2^15 * 2^(-below / 16), rounded down. */
static TFIN_NOINLINE uint32_t weight(uint32_t below)
{
    static const uint16_t powers[16] = {32768, 34219, 35734, 37316, 38968, 40693, 42495, 44376,
                                        46341, 48393, 50535, 52773, 55109, 57549, 60097, 62757};
    return below >= 256u ? 0 : (uint32_t)powers[(0u - below) & 15u] >> ((below + 15u) >> 4);
}

/* log2 of the odds that it lasts, and above it that it happened at all; each in 1/256, plus 2^15.
 * Every first day and duration is visited twice: for the largest evidence, 0 among it, then for the
 * sum of the weights below it, of what is over and of what lasts today. */
uint32_t tfin_compromised_read(const op *o, const uint8_t *s, const uint8_t *table, uint32_t t)
{
    uint32_t sums[2] = {0, 0};
    int32_t best = 0;
    const uint8_t *d = table + DURATIONS;
    for (uint32_t n = 0; n < 2u * (uint32_t)o->p1; n++, d += DURATION_SIZE) {
        d = n == (uint32_t)o->p1 ? table + DURATIONS : d;
        uint32_t duration = tfin_u16(d);
        int32_t evidence = tfin_i16(d + PRIOR);
        uint32_t age = tfin_u32(s) - 1u - t / DAY_S;
        for (uint32_t back = 0; back < o->p2; back++, age++) {
            evidence += sum_of(o, s, age);
            if (back >= duration) {
                evidence -= sum_of(o, s, age - duration);
            }
            if (n >= (uint32_t)o->p1) {
                sums[back < duration] += weight((uint32_t)(best - evidence));
            } else if (evidence > best) {
                best = evidence;
            }
        }
    }
    uint32_t never = weight((uint32_t)best);
    uint32_t odds[4] = {sums[1], sums[0] + never, sums[0] + sums[1], never};
    uint32_t result = 0;
    for (uint32_t i = 0; i < 4; i += 2) {
        result = result >> 16 |
                 ((uint32_t)(tfin_log2_q8(odds[i]) - tfin_log2_q8(odds[i + 1])) + 32768u) << 16;
    }
    return result;
}

/* Remembers how much a fraud of this event would say, where that is unusually little. */
void tfin_compromised_commit(const op *o, uint8_t *s, const uint8_t *table, int64_t a, uint32_t id)
{
    uint8_t *e = remembered(o, s);
    uint32_t carried = id << 8 | (a & 255);
    for (uint32_t n = a < tfin_i16(table + LIMIT) ? o->p3 : 0; n != 0; n--, e += 4) {
        uint32_t older = tfin_u32(e);
        tfin_put32(e, carried);
        carried = older;
    }
}

static int32_t evidence_of(const op *o, uint8_t *s, const uint8_t *table, uint32_t tag)
{
    const uint8_t *e = remembered(o, s);
    if ((tag & 1u) == 0) {
        return tfin_i16(table + GENUINE);
    }
    for (uint32_t n = o->p3; n != 0; n--, e += 4) {
        if (tfin_u32(e) != 0 && tfin_u32(e) >> 8 == (tag << 7) >> 8) {
            return (int32_t)(tfin_u32(e) & 255u);
        }
    }
    return tfin_i16(table + USUAL);
}

void tfin_compromised_notice(const op *o, uint8_t *s, const uint8_t *table, uint32_t t,
                             uint32_t tag, int change)
{
    int32_t evidence = evidence_of(o, s, table, tag);
    uint32_t newest = tfin_u32(s);
    uint32_t day = t / DAY_S + 1u;
    if (change == LABEL_REPLACED) {
        evidence -= evidence_of(o, s, table, tag ^ 1u);
    }
    if (day > newest) {
        for (uint32_t i = o->p2; i-- != 0;) {
            int32_t moved = sum_of(o, s, i - (day - newest));
            tfin_put16(s + SUMS + 2u * i, (uint16_t)moved);
        }
        tfin_put32(s, newest = day);
    }
    if (newest - day < o->p2) {
        uint8_t *sum = s + SUMS + 2u * (newest - day);
        evidence += tfin_i16(sum);
        evidence = evidence < INT16_MIN ? INT16_MIN : (evidence > INT16_MAX ? INT16_MAX : evidence);
        tfin_put16(sum, (uint16_t)evidence);
    }
}
