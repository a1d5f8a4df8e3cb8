/* SPDX-License-Identifier: Apache-2.0 */
/* KNOWN: labels that notices brought, kept where their transactions were. {u32 count, u32 0, {u32 t, u32 tag}[capacity]}, ascending by (t, tag). */
#include "internal.h"

static const uint8_t *entry(const uint8_t *labels, uint32_t i)
{
    return labels + LABELS_ENTRIES + LABEL_SIZE * i;
}

static int is_fraud(const uint8_t *labels, uint32_t i)
{
    return (int)(tfin_u32(entry(labels, i) + 4) & 1u);
}

int64_t tfin_known_read(const op *o, uint32_t t, const uint8_t *labels)
{
    uint32_t n = tfin_u32(labels);
    if (n == 0) {
        return o->p1;
    }
    int64_t count = 0;
    int64_t run_age = o->p1;
    for (uint32_t i = n; i-- != 0;) { /* newest first */
        uint32_t at = tfin_u32(entry(labels, i));
        int fraud = is_fraud(labels, i);
        int64_t age = at < t ? (int64_t)(t - at) : 0;
        int64_t capped = age < o->p0 ? age : o->p0;
        switch (o->p2) {
        case 0: return fraud;
        case 1:
            if (!fraud) {
                return count;
            }
            count++;
            break;
        case 2:
            if (!fraud) {
                return run_age;
            }
            run_age = capped;
            break;
        case 3: return capped;
        case 4: count += age < o->p0; break;
        case 5: count += fraud && age < o->p0; break;
        default:
            if (fraud) {
                return capped;
            }
            break;
        }
    }
    return o->p2 == 2 || o->p2 == 6 ? run_age : count;
}

static int before(uint32_t t, uint32_t tag, const uint8_t *e)
{
    uint32_t other = tfin_u32(e);
    return t < other || (t == other && tag < tfin_u32(e + 4));
}

int tfin_labels_insert(uint8_t *labels, uint32_t capacity, uint32_t t, uint32_t tag, int *dropped)
{
    uint32_t n = tfin_u32(labels);
    *dropped = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *e = entry(labels, i);
        if (tfin_u32(e) == t && (tfin_u32(e + 4) >> 1) == tag >> 1) {
            if (tfin_u32(e + 4) == tag) {
                return 0;
            }
            /* the same transaction, the other label: neighbours keep their order, only the tag's lowest bit changes */
            tfin_put32(labels + LABELS_ENTRIES + LABEL_SIZE * i + 4u, tag);
            return 1;
        }
    }
    uint32_t place = n;
    while (place != 0 && before(t, tag, entry(labels, place - 1u))) {
        place--;
    }
    if (n == capacity) {
        *dropped = 1;
        if (place == 0) {
            return 1; /* older than all that is kept: itself the one to go */
        }
        place--;
        for (uint32_t i = 0; i < place; i++) {
            memcpy(labels + LABELS_ENTRIES + LABEL_SIZE * i, entry(labels, i + 1u), LABEL_SIZE);
        }
    } else {
        for (uint32_t i = n; i > place; i--) {
            memcpy(labels + LABELS_ENTRIES + LABEL_SIZE * i, entry(labels, i - 1u), LABEL_SIZE);
        }
        tfin_put32(labels, n + 1u);
    }
    tfin_put32(labels + LABELS_ENTRIES + LABEL_SIZE * place, t);
    tfin_put32(labels + LABELS_ENTRIES + LABEL_SIZE * place + 4u, tag);
    return 1;
}
