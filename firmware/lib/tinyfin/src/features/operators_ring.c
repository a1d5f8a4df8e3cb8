/* SPDX-License-Identifier: Apache-2.0 */
/* RARITY, REPEAT, MODE, DISTINCT: small tables of recent values. */
#include "../internal.h"

uint32_t tfin_rarity_read(const op *o, const uint8_t *s, int64_t a)
{
    if (a < 0 || a >= o->p2) {
        return 256;
    }
    uint32_t all = (uint32_t)tfin_u16(s) + o->p2; /* Laplace: one more of each */
    uint32_t own = (uint32_t)tfin_u16(s + 2 + 2 * a) + 1u;
    return own > all ? 0 : 256u * (all - own) / all;
}

void tfin_rarity_commit(const op *o, uint8_t *s, int64_t a)
{
    if (a < 0 || a >= o->p2) {
        return;
    }
    uint8_t *own = s + 2 + 2 * a;
    uint32_t total = (uint32_t)tfin_u16(s) + 1u;
    tfin_put16(own, (uint16_t)(tfin_u16(own) + 1u));
    if (total >= (uint32_t)o->p0) {
        total = 0;
        for (uint32_t i = 0; i < o->p2; i++) {
            uint16_t half = (uint16_t)(tfin_u16(s + 2u + 2u * i) >> 1);
            tfin_put16(s + 2u + 2u * i, half);
            total += half;
        }
    }
    tfin_put16(s, (uint16_t)total);
}

/* {u32 entries, u32 next, u32 v[p2]}. The checksum of a state image does not check its meaning:
 * limit what is read from it. */
static uint32_t ring_entries(const op *o, const uint8_t *s)
{
    uint32_t n = tfin_u32(s);
    return n < o->p2 ? n : o->p2;
}

static uint32_t equal_to(const uint8_t *s, uint32_t from, uint32_t n, uint32_t v)
{
    uint32_t equal = 0;
    for (uint32_t i = from; i < n; i++) {
        equal += tfin_u32(s + 8u + 4u * i) == v;
    }
    return equal;
}

uint32_t tfin_repeat_read(const op *o, const uint8_t *s, int64_t a, uint32_t self)
{
    return equal_to(s, 0, ring_entries(o, s), (uint32_t)a) + self;
}

uint32_t tfin_mode_read(const op *o, const uint8_t *s, int64_t a, uint32_t self)
{
    uint32_t n = ring_entries(o, s);
    uint32_t present = (uint32_t)a;
    uint32_t most = self ? equal_to(s, 0, n, present) + 1u : 0;
    for (uint32_t i = 0; i < n; i++) {
        /* counting from i on is enough: the first entry of a value counts all of them */
        uint32_t equal = equal_to(s, i, n, tfin_u32(s + 8u + 4u * i));
        most = equal > most ? equal : most;
    }
    return most;
}

void tfin_repeat_commit(const op *o, uint8_t *s, int64_t a)
{
    uint32_t n = ring_entries(o, s);
    uint32_t next = tfin_u32(s + 4) % o->p2;
    tfin_put32(s + 8u + 4u * next, (uint32_t)a);
    tfin_put32(s + 4, next + 1u == o->p2 ? 0 : next + 1u);
    tfin_put32(s, n < o->p2 ? n + 1u : n);
}

void tfin_erase_value(const op *o, uint8_t *s, uint64_t value)
{
    /* DISTINCT: pairs of a hash and a time, both 0 when empty; REPEAT and MODE: the low words,
     * behind two counts; PREVIOUS: the value itself */
    uint32_t looked_for = o->code == DISTINCT ? tfin_folded(value) : (uint32_t)value;
    uint32_t each = o->code == DISTINCT ? 8 : 4;
    if (o->code == PREVIOUS && o->p3 == 8 && tfin_u64(s) == value) {
        tfin_put64(s, 0);
    }
    if (o->code == REPEAT || o->code == MODE || o->code == DISTINCT) {
        s += o->code == DISTINCT ? 0 : 8;
        for (uint32_t n = o->p2; n != 0; n--, s += each) {
            if (tfin_u32(s) == looked_for) {
                memset(s, 0, each);
            }
        }
    }
}

/* {u32 h, u32 last}[p2]; last is 0 in an empty entry, else t + 1 */
uint32_t tfin_distinct_read(const op *o, const uint8_t *s, int64_t a, uint32_t t, uint32_t self)
{
    uint32_t h = tfin_folded((uint64_t)a);
    /* no entry up to this counts, no empty one either */
    uint32_t stale = t + 1u > (uint32_t)o->p0 ? t + 1u - (uint32_t)o->p0 : 0;
    uint32_t n = 0;
    for (uint32_t i = o->p2; i != 0; i--, s += 8) {
        if (tfin_u32(s + 4) > stale) {
            n++;
            self &= tfin_u32(s) != h;
        }
    }
    return n + self;
}

void tfin_distinct_commit(const op *o, uint8_t *s, int64_t a, uint32_t t)
{
    uint32_t h = tfin_folded((uint64_t)a);
    uint32_t stamp = t + 1u;
    uint8_t *victim = s;
    uint32_t oldest = UINT32_MAX;
    for (uint32_t i = o->p2; i != 0; i--, s += 8) {
        uint32_t last = tfin_u32(s + 4);
        if (last != 0 && tfin_u32(s) == h) {
            tfin_put32(s + 4, last > stamp ? last : stamp);
            return;
        }
        if (last < oldest) { /* an empty entry has last = 0: the first of them wins */
            oldest = last;
            victim = s;
        }
    }
    tfin_put32(victim, h);
    tfin_put32(victim + 4, stamp);
}
