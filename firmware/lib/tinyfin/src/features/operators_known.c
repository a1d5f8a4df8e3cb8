/* SPDX-License-Identifier: Apache-2.0 */
/* KNOWN: labels from notices, in order of their transactions' times. {u32 count, u32 0, {u32
 * t, u32 tag}[capacity]}, ascending by (t, tag). */
#include "../internal.h"

static const uint8_t *entry(const uint8_t *labels, uint32_t i)
{
    return labels + LABELS_ENTRIES + LABEL_SIZE * i;
}

static int is_fraud(const uint8_t *labels, uint32_t i)
{
    return (int)(tfin_u32(entry(labels, i) + 4) & 1u);
}

static int32_t age(const op *o, const uint8_t *labels, uint32_t i, uint32_t t)
{
    uint32_t at = tfin_u32(entry(labels, i));
    uint32_t gap = at < t ? t - at : 0;
    return gap < (uint32_t)o->p0 ? (int32_t)gap : o->p0;
}

int32_t tfin_known_read(const op *o, const uint8_t *labels, uint32_t t)
{
    enum { NEWEST_IS_FRAUD, RUN_LENGTH, RUN_AGE, NEWEST_AGE, COUNT, FRAUD_COUNT, NEWEST_FRAUD_AGE };
    uint32_t n = tfin_u32(labels);
    uint32_t i = n;
    uint32_t frauds = 0;
    if (n == 0) {
        return o->p1;
    }
    switch (o->p2) {
    case NEWEST_IS_FRAUD: return is_fraud(labels, n - 1u);
    case NEWEST_AGE: return age(o, labels, n - 1u, t);
    case COUNT:
    case FRAUD_COUNT: {
        /* age < p0 from the first one on */
        const uint8_t *e = labels + LABELS_ENTRIES;
        uint32_t oldest = t + 1u > (uint32_t)o->p0 ? t + 1u - (uint32_t)o->p0 : 0;
        for (i = 0; i != n && tfin_u32(e) < oldest; i++, e += LABEL_SIZE) {
        }
        if (o->p2 == COUNT) {
            return (int32_t)(n - i);
        }
        for (; i != n; i++, e += LABEL_SIZE) {
            frauds += tfin_u32(e + 4) & 1u;
        }
        return (int32_t)frauds;
    }
    default:
        /* back over the frauds in a row; or over genuine ones, to the newest fraud */
        while (i != 0 && is_fraud(labels, i - 1u) == (o->p2 != NEWEST_FRAUD_AGE)) {
            i--;
        }
        if (o->p2 == RUN_LENGTH) {
            return (int32_t)(n - i);
        }
        if (o->p2 == RUN_AGE) {
            return i == n ? o->p1 : age(o, labels, i, t);
        }
        return i == 0 ? o->p1 : age(o, labels, i - 1u, t);
    }
}

/* Where (t, tag) belongs: the number of entries that are not above it. The search begins at the
 * newest entry, because most labels are new. */
static uint32_t place_of(const uint8_t *labels, uint32_t n, uint32_t t, uint32_t tag)
{
    for (; n != 0; n--) {
        const uint8_t *e = entry(labels, n - 1u);
        uint32_t other = tfin_u32(e);
        if (other < t || (other == t && tfin_u32(e + 4) <= tag)) {
            break;
        }
    }
    return n;
}

int tfin_labels_insert(uint8_t *labels, uint32_t capacity, uint32_t t, uint32_t tag, int *dropped)
{
    uint32_t n = tfin_u32(labels);
    /* A transaction has one entry, with one label or the other: those two tags have
     * no other between them. */
    uint32_t place = place_of(labels, n, t, tag | 1u);
    uint8_t *e = labels + LABELS_ENTRIES + LABEL_SIZE * place;
    *dropped = 0;
    if (place != 0 && tfin_u32(e - LABEL_SIZE) == t && tfin_u32(e - 4) >> 1 == tag >> 1) {
        int change = tfin_u32(e - 4) != tag ? LABEL_REPLACED : LABEL_KNOWN;
        tfin_put32(e - 4, tag); /* the other label: neighbours keep their order */
        return change;
    }
    const uint8_t *last = labels + LABELS_ENTRIES;
    int32_t step = LABEL_SIZE;
    if (n == capacity) {
        *dropped = 1;
        if (place == 0) {
            return LABEL_TOO_OLD; /* older than all entries: it is the one that is dropped */
        }
        e -= LABEL_SIZE; /* the smallest is dropped */
        step = -LABEL_SIZE;
    } else {
        last += LABEL_SIZE * n;
        tfin_put32(labels, n + 1u);
    }
    /* Swapped, not shifted: compilers turn a shift into memmove. */
    for (uint64_t carried = (uint64_t)tag << 32 | t;; e += step) {
        uint64_t next = tfin_u64(e);
        tfin_put64(e, carried);
        carried = next;
        if (e == last) {
            return LABEL_NEW;
        }
    }
}
