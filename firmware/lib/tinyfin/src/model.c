/* SPDX-License-Identifier: Apache-2.0 */
/* Everything between the features and the verdict: input maps, read-out,
 * calibration, decision, reasons. */
#include "internal.h"
#include "network/net_plan.h"

enum { KNOT_SIZE = 8, CALIBRATION_KNOT = 16, READOUT_SIZE = 16, MAX_RECONSTRUCTION = 4096 };
enum { READ_LOGIT = 1, READ_ACCUMULATOR = 2, READ_RECONSTRUCTION = 3, READ_SQUARES = 4 };
/* offsets in the READ payload; the kind says what the last two mean */
enum { READ_KIND = 0, READ_SHIFT = 1, READ_INDEX = 2, READ_IN = 4, READ_OUT = 8 };

static uint32_t features_of(const tfin_engine *e)
{
    return tfin_u16(e->program + PROG_FEATURES);
}

uint8_t *tfin_arena(const tfin_engine *e)
{
    return e->state + e->layout.registers;
}

/* ---- checks, once, at open */

/* step * slope < 2^30, of a step below 2^16: most slopes need no product of 64 bits, which is
 * slow on small cores. */
static int rise_ok(uint32_t step, uint32_t slope)
{
    return slope <= 1u << 14 || (uint64_t)step * slope < 1u << 30;
}

static int map_ok(const uint8_t *maps, uint32_t size, uint32_t at, uint32_t knots)
{
    if (at % 4u != 0 || knots < 2u || knots > 32u || at > size || knots * KNOT_SIZE > size - at) {
        return 0;
    }
    const uint8_t *k = maps + at;
    int32_t x = tfin_i16(k);
    for (const uint8_t *last = k + KNOT_SIZE * (knots - 1u); k != last; k += KNOT_SIZE) {
        int32_t next = tfin_i16(k + KNOT_SIZE);
        int32_t slope = tfin_i32(k + 4);
        if (next <= x ||
            !rise_ok((uint32_t)(next - x), slope < 0 ? 0u - (uint32_t)slope : (uint32_t)slope)) {
            return 0;
        }
        x = next;
    }
    return 1;
}

static int maps_ok(const tfin_engine *e, uint32_t size)
{
    uint32_t n = features_of(e);
    if (size < 8u + 8u * n || tfin_u16(e->maps) != n || tfin_net_input_length(e->plan) != n) {
        return 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *entry = e->maps + 8u + 8u * i;
        if (!map_ok(e->maps, size, tfin_u32(entry), tfin_u16(entry + 4))) {
            return 0;
        }
    }
    return 1;
}

static int multiplier_ok(int32_t packed)
{
    return packed >> 8 >= 0 && packed >> 8 <= 65535;
}

static int readout_ok(const tfin_engine *e, uint32_t size)
{
    if (size != READOUT_SIZE || e->readout[READ_SHIFT] > 31u) {
        return 0;
    }
    uint32_t index = tfin_u16(e->readout + READ_INDEX);
    uint32_t outputs = tfin_net_output_length(e->plan);
    switch (e->readout[READ_KIND]) {
    case READ_LOGIT:
        return index < outputs && tfin_i32(e->readout + READ_OUT) >= -128 &&
               tfin_i32(e->readout + READ_OUT) <= 127;
    case READ_ACCUMULATOR: return index < tfin_net_accumulator_count(e->plan);
    case READ_RECONSTRUCTION:
        return outputs == tfin_net_input_length(e->plan) && outputs <= MAX_RECONSTRUCTION &&
               multiplier_ok(tfin_i32(e->readout + READ_IN)) &&
               multiplier_ok(tfin_i32(e->readout + READ_OUT));
    case READ_SQUARES:
        return outputs <= MAX_RECONSTRUCTION && tfin_i32(e->readout + READ_OUT) >= -128 &&
               tfin_i32(e->readout + READ_OUT) <= 127;
    default: return 0;
    }
}

static int calibration_ok(const tfin_engine *e, uint32_t size)
{
    uint32_t n = size < 8u ? 0 : tfin_u16(e->calibration);
    if (n < 2u || n > 64u || size < 8u + CALIBRATION_KNOT * n) {
        return 0;
    }
    const uint8_t *k = e->calibration + 8;
    for (const uint8_t *last = k + CALIBRATION_KNOT * (n - 1u); k != last; k += CALIBRATION_KNOT) {
        if (tfin_i32(k + CALIBRATION_KNOT) <= tfin_i32(k) ||
            tfin_u32(k + CALIBRATION_KNOT + 4) <= tfin_u32(k + 4) ||
            tfin_u16(k + 14) != 0) { /* slope >= 2^48 */
            return 0;
        }
    }
    return 1;
}

/* The threshold of VERIFY; null in a pack that never asks for it. */
static const uint8_t *verify_of(const tfin_engine *e)
{
    const uint8_t *d = e->decision;
    return tfin_u16(d + DECISION_MORE) != 0 ? d + DECISION_HEAD + DECISION_ENTRY * features_of(e)
                                            : NULL;
}

static int decision_ok(const tfin_engine *e, uint32_t size)
{
    uint32_t n = features_of(e);
    const uint8_t *d = e->decision;
    if (size < DECISION_HEAD + DECISION_ENTRY * n ||
        size < DECISION_HEAD + DECISION_ENTRY * n + 4u * tfin_u16(d + DECISION_MORE)) {
        return 0;
    }
    uint32_t online = tfin_u32(d + DECISION_ONLINE), decline = tfin_u32(d + DECISION_DECLINE);
    uint32_t verify = verify_of(e) != NULL ? tfin_u32(verify_of(e)) : online;
    return tfin_u16(d + DECISION_COUNT) == n && online <= verify && verify <= decline &&
           tfin_u16(d + DECISION_FLAGS) < 2u * WANTS_HOST;
}

int tfin_model_check(const tfin_engine *e, uint32_t maps_size, uint32_t readout_size,
                     uint32_t calibration_size, uint32_t decision_size)
{
    return maps_ok(e, maps_size) && readout_ok(e, readout_size) &&
                   calibration_ok(e, calibration_size) && decision_ok(e, decision_size)
               ? TFIN_OK
               : TFIN_E_MODEL;
}

/* ---- from features to a score */

static int8_t map_one(const uint8_t *knots, uint32_t n, int32_t f)
{
    uint32_t i = 0;
    while (i + 1u < n && tfin_i16(knots + KNOT_SIZE * (i + 1u)) <= f) {
        i++;
    }
    const uint8_t *k = knots + KNOT_SIZE * i;
    int32_t y = (int8_t)k[2];
    int32_t dx = f - tfin_i16(k);
    if (dx > 0 && i + 1u < n) {
        y += (dx * tfin_i32(k + 4) + 32768) >> 16; /* |dx * slope| < 2^30, see map_ok */
    }
    return (int8_t)(y < -128 ? -128 : (y > 127 ? 127 : y));
}

void tfin_map_inputs(const tfin_engine *e, const int16_t *features, int8_t *inputs)
{
    uint32_t n = features_of(e);
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *entry = e->maps + 8u + 8u * i;
        inputs[i] = map_one(e->maps + tfin_u32(entry), tfin_u16(entry + 4), features[i]);
    }
}

static int32_t reconstruction_error(const tfin_engine *e, uint8_t *arena)
{
    const int8_t *x = tfin_net_input(e->plan, arena);
    const int8_t *y = tfin_net_output(e->plan, arena);
    int32_t in = tfin_i32(e->readout + READ_IN);
    int32_t out = tfin_i32(e->readout + READ_OUT);
    int32_t zero_in = (int8_t)((uint32_t)in & 0xFFu);
    int32_t zero_out = (int8_t)((uint32_t)out & 0xFFu);
    uint64_t sum = 0; /* |error| < 2^17, 4096 squares: below 2^46 */
    for (uint32_t i = 0; i < tfin_net_output_length(e->plan); i++) {
        int32_t error = ((x[i] - zero_in) * (in >> 8) - (y[i] - zero_out) * (out >> 8)) >> 8;
        sum += (uint64_t)((int64_t)error * error);
    }
    sum >>= e->readout[READ_SHIFT];
    return sum > INT32_MAX ? INT32_MAX : (int32_t)sum;
}

static int32_t sum_of_squares(const tfin_engine *e, uint8_t *arena)
{
    const int8_t *y = tfin_net_output(e->plan, arena);
    int32_t zero = tfin_i32(e->readout + READ_OUT);
    uint32_t sum = 0; /* 4096 squares of less than 2^8: below 2^28 */
    for (uint32_t n = tfin_net_output_length(e->plan); n != 0; n--) {
        int32_t v = *y++ - zero;
        sum += (uint32_t)(v * v);
    }
    return (int32_t)(sum >> e->readout[READ_SHIFT]);
}

int32_t tfin_raw_score(const tfin_engine *e)
{
    uint8_t *arena = tfin_arena(e);
    uint32_t index = tfin_u16(e->readout + READ_INDEX);
    switch (e->readout[READ_KIND]) {
    case READ_LOGIT:
        return tfin_net_output(e->plan, arena)[index] - tfin_i32(e->readout + READ_OUT);
    case READ_ACCUMULATOR:
        return tfin_net_accumulators(e->plan, arena)[index] >> e->readout[READ_SHIFT];
    case READ_SQUARES: return sum_of_squares(e, arena);
    default: return reconstruction_error(e, arena);
    }
}

uint32_t tfin_calibrate(const tfin_engine *e, int32_t raw)
{
    const uint8_t *k = e->calibration + 8;
    uint32_t n = tfin_u16(e->calibration);
    if (raw <= tfin_i32(k)) {
        return tfin_u32(k + 4);
    }
    while (n > 1u && tfin_i32(k + CALIBRATION_KNOT) <= raw) {
        k += CALIBRATION_KNOT;
        n--;
    }
    uint32_t p = tfin_u32(k + 4);
    if (n == 1u) {
        return p;
    }
    uint64_t dx = (uint32_t)raw - (uint32_t)tfin_i32(k);
    uint64_t rise = (dx * tfin_u64(k + 8)) >> 16;
    uint32_t most = tfin_u32(k + CALIBRATION_KNOT + 4) - p;
    return p + (rise > most ? most : (uint32_t)rise);
}

void tfin_judge(const tfin_engine *e, tfin_verdict *v)
{
    uint8_t *arena = tfin_arena(e);
    const int16_t *features =
        (const int16_t *)(const void *)__builtin_assume_aligned(e->state + e->layout.features, 2);
    tfin_map_inputs(e, features, tfin_net_input(e->plan, arena));
    tfin_net_run(e->plan, arena);
    v->raw = tfin_raw_score(e);
    v->score_q32 = tfin_calibrate(e, v->raw);
}

/* ---- decision and reasons */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 31;
    x *= 0x7FB5D329728EA185u;
    x ^= x >> 27;
    x *= 0x81DADEF4BC2DD44Du;
    return x ^ x >> 33;
}

typedef struct top {
    int64_t contribution[TFIN_MAX_REASONS];
    uint32_t count;
} top;

/* Keeps the best few in order, each id once. Entries are swapped down the list, not shifted:
 * compilers turn a shift into memmove. */
static void consider(top *best, tfin_verdict *v, int64_t contribution, uint16_t id)
{
    uint16_t new_id = id;
    uint32_t place = 0;
    while (place < best->count && contribution <= best->contribution[place]) {
        if (v->reasons[place] == id) {
            return;
        }
        place++;
    }
    for (uint32_t i = place; i < best->count; i++) {
        int64_t lesser = best->contribution[i];
        uint16_t lesser_id = v->reasons[i];
        best->contribution[i] = contribution;
        v->reasons[i] = id;
        if (lesser_id == new_id) {
            return;
        }
        contribution = lesser;
        id = lesser_id;
    }
    if (best->count < TFIN_MAX_REASONS) {
        best->contribution[best->count] = contribution;
        v->reasons[best->count] = id;
        best->count++;
    }
}

/* The raw score with input i at `reference`. The change of a sum of terms is known; a network is
 * run again. */
static int32_t raw_without(tfin_engine *e, int8_t *inputs, uint32_t i, int8_t reference,
                           int terms_known)
{
    uint8_t *arena = tfin_arena(e);
    int8_t own = inputs[i];
    if (terms_known) {
        return (tfin_net_accumulators(e->plan, arena)[0] +
                tfin_net_change(e->plan, i, own, reference)) >>
               e->readout[READ_SHIFT];
    }
    inputs[i] = reference;
    tfin_net_run(e->plan, arena);
    int32_t raw = tfin_raw_score(e); /* a reconstruction looks at the inputs too */
    inputs[i] = own;
    return raw;
}

/* The reason of an input, by the side of its reference on which it lies; 0 for none. */
static uint16_t reason_of(const uint8_t *entry, int8_t own)
{
    int8_t reference = (int8_t)entry[2];
    if (own == reference || (own < reference && entry[3] == NONE_BELOW)) {
        return 0;
    }
    return own > reference || entry[3] == BELOW_AS_ABOVE ? tfin_u16(entry) : entry[3];
}

/* Runs the network once for each input that can be a reason, and once more so that the event's own
 * output is left behind. A plan whose terms are known is not run. */
static void find_reasons(tfin_engine *e, tfin_verdict *v)
{
    uint8_t *arena = tfin_arena(e);
    int8_t *inputs = tfin_net_input(e->plan, arena);
    int known = e->readout[READ_KIND] == READ_ACCUMULATOR && tfin_net_terms_known(e->plan);
    top best = {.count = 0};
    for (uint32_t i = 0; i < features_of(e); i++) {
        const uint8_t *entry = e->decision + DECISION_HEAD + DECISION_ENTRY * i;
        uint16_t id = reason_of(entry, inputs[i]);
        if (id == 0) {
            continue;
        }
        tfin_feed(e->progress, e->progress_context);
        int64_t contribution = (int64_t)v->raw - raw_without(e, inputs, i, (int8_t)entry[2], known);
        if (contribution > 0) {
            consider(&best, v, contribution, id);
        }
    }
    if (!known) {
        tfin_net_run(e->plan, arena);
    }
    v->reason_count = (uint8_t)best.count;
}

uint8_t tfin_advise(const tfin_engine *e, uint32_t score_q32)
{
    uint16_t flags = tfin_u16(e->decision + DECISION_FLAGS);
    if (score_q32 >= tfin_u32(e->thresholds + DECISION_DECLINE) && (flags & NEVER_DECLINE) == 0) {
        return TFIN_ACTION_DECLINE;
    }
    int online =
        score_q32 >= tfin_u32(e->thresholds + DECISION_ONLINE) && (flags & NEVER_ONLINE) == 0;
    return online ? TFIN_ACTION_GO_ONLINE : TFIN_ACTION_ACCEPT;
}

void tfin_decide(tfin_engine *e, tfin_verdict *v)
{
    const uint8_t *d = e->decision;
    uint16_t flags = tfin_u16(d + DECISION_FLAGS);
    v->action = tfin_advise(e, v->score_q32);
    if (v->action != TFIN_ACTION_ACCEPT) {
        find_reasons(e, v);
    }
    if ((uint16_t)(mix(v->id) >> 48) < tfin_u16(d + DECISION_CONTROL)) {
        v->flags |= TFIN_FLAG_CONTROL;
    }
    if ((flags & SHADOW) != 0) {
        v->flags |= TFIN_FLAG_SHADOW;
        v->action = TFIN_ACTION_ACCEPT;
    }
#ifndef TFIN_SABOTAGE_VERIFY
    const uint8_t *verify = verify_of(e);
    if (v->action == TFIN_ACTION_GO_ONLINE && verify != NULL && v->score_q32 >= tfin_u32(verify)) {
        v->flags |= TFIN_FLAG_VERIFY;
    }
#endif
}
