/* SPDX-License-Identifier: Apache-2.0 */
/* COMPROMISED: what labels say about a time in which a terminal or card was in the wrong hands.
 * {u32 newest day + 1, u16 count, u16 next, i16 sum[p2], padding to 4, u32 remembered[p3]}.
 * Evidence is in 1/16 of log2. */
#include "../internal.h"

enum { DAY_S = 86400, COUNT = 4, NEXT = 6, SUMS = 8 };
enum { USUAL = 0, GENUINE = 2, LIMIT = 4, DURATIONS = 6, DURATION_SIZE = 4, PRIOR = 2 };

static uint8_t *remembered(const op *o, uint8_t *s)
{
    return s + tfin_round_up(SUMS + 2u * o->p2, 4);
}

/* 2^15 * 2^(-below / 16), rounded down. */
static uint32_t weight(uint32_t below)
{
    static const uint16_t powers[16] = {32768, 34219, 35734, 37316, 38968, 40693, 42495, 44376,
                                        46341, 48393, 50535, 52773, 55109, 57549, 60097, 62757};
    return below >= 256u ? 0 : (uint32_t)powers[(0u - below) & 15u] >> ((below + 15u) >> 4);
}

/* Visits every start day and duration. Without `sums` it gives the largest evidence, 0 among them;
 * with it, it adds up the weights below `best`: sums[1] what lasts today, sums[0] what is over. */
static int32_t visit(const op *o, const uint8_t *s, const uint8_t *table, uint32_t today,
                     int32_t best, uint32_t *sums)
{
    uint32_t starts = today + 1u < o->p2 ? today + 1u : o->p2;
    const uint8_t *d = table + DURATIONS;
    for (const uint8_t *end = d + DURATION_SIZE * o->p1; d != end; d += DURATION_SIZE) {
        uint32_t duration = tfin_u16(d);
        int32_t evidence = tfin_i16(d + PRIOR);
        uint32_t at = today % o->p2;
        uint32_t over = at;
        /* how old a day is for the ring: below p2 it is in it, days to come are far above */
        uint32_t age = tfin_u32(s) - 1u - today;
        for (uint32_t back = 0; back < starts; back++, age++) {
            if (age < o->p2) {
                evidence += tfin_i16(s + SUMS + 2u * at);
            }
            at = at == 0 ? o->p2 - 1u : at - 1u;
            if (back >= duration) {
                if (age - duration < o->p2) {
                    evidence -= tfin_i16(s + SUMS + 2u * over);
                }
                over = over == 0 ? o->p2 - 1u : over - 1u;
            }
            if (sums != NULL) {
                sums[back < duration] += weight((uint32_t)(best - evidence));
            } else if (evidence > best) {
                best = evidence;
            }
        }
    }
    return best;
}

/* log2 of the odds that it lasts, and above it that it happened at all; each in 1/256, plus 2^15.
 */
int64_t tfin_compromised_read(const op *o, const uint8_t *s, const uint8_t *table, uint32_t t)
{
    uint32_t sums[2] = {0, 0};
    uint32_t today = t / DAY_S;
    int32_t best = visit(o, s, table, today, 0, NULL);
    (void)visit(o, s, table, today, best, sums);
    uint32_t never = weight((uint32_t)best);
    int64_t lasts = tfin_log2_q8(sums[1]) - tfin_log2_q8(sums[0] + never);
    int64_t ever = tfin_log2_q8(sums[0] + sums[1]) - tfin_log2_q8(never);
    return (ever + 32768) * 65536 + lasts + 32768;
}

/* Remembers how much a fraud of this event would say, where that is unusually little. */
void tfin_compromised_commit(const op *o, uint8_t *s, const uint8_t *table, int64_t a, uint32_t id)
{
    uint32_t evidence = (uint32_t)tfin_clamp64(a, 0, 255);
    uint32_t count = tfin_u16(s + COUNT);
    if (o->p3 == 0 || (int32_t)evidence >= tfin_i16(table + LIMIT)) {
        return;
    }
    uint32_t next = tfin_u16(s + NEXT) % o->p3;
    tfin_put32(remembered(o, s) + 4u * next, id << 8 | evidence);
    tfin_put16(s + NEXT, (uint16_t)(next + 1u == o->p3 ? 0 : next + 1u));
    tfin_put16(s + COUNT, (uint16_t)(count < o->p3 ? count + 1u : o->p3));
}

static int32_t evidence_of(const op *o, uint8_t *s, const uint8_t *table, uint32_t tag)
{
    const uint8_t *e = remembered(o, s);
    uint32_t n = tfin_u16(s + COUNT);
    if ((tag & 1u) == 0) {
        return tfin_i16(table + GENUINE);
    }
    for (n = n < o->p3 ? n : o->p3; n != 0; n--, e += 4) {
        if (tfin_u32(e) >> 8 == (tag >> 1 & 0xFFFFFFu)) {
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
        uint32_t new_days = day - newest < o->p2 ? day - newest : o->p2;
        for (uint32_t i = 0; i < new_days; i++) {
            tfin_put16(s + SUMS + 2u * ((day - 1u - i) % o->p2), 0);
        }
        tfin_put32(s, newest = day);
    }
    if (newest - day < o->p2) {
        uint8_t *sum = s + SUMS + 2u * ((day - 1u) % o->p2);
        tfin_put16(sum, (uint16_t)tfin_clamp64(tfin_i16(sum) + evidence, INT16_MIN, INT16_MAX));
    }
}
