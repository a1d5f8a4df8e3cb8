/* SPDX-License-Identifier: Apache-2.0 */
/* A pack in the shadow of another one, and on trial: its counts, and its bounds. */
#include "tinyfin_probation.h"

#include "internal.h"
#include "network/net_plan.h"

/* offsets in the PROB payload */
enum {
    PROB_PARENT = 0,
    PROB_CUTS = 16, /* of the parent, then of this pack: three u32 each */
    PROB_LOOKS = 40,
    PROB_FLAGS = 41,
    PROB_ALERTS_MORE = 42,
    PROB_TRIAL_EVENTS = 44,
    PROB_TRIAL_ALERTS = 46,
    PROB_TRIAL_SATURATED = 48,
    PROB_ALERTS_FACTOR = 50,
    PROB_ZERO = 52,
    PROB_HEAD = 56,
    PROB_LOOK = 8
};
enum { BINS = 4, CUTS = BINS - 1, MOST_LOOKS = 4 };
enum { TRIAL_BY_ITSELF = 1, CONFIRMS_ITSELF = 2 };

/* offsets in the body */
enum {
    BODY_PACK = 0, /* 8 bytes */
    BODY_TABLE = 8,
    BODY_DIGEST = 40,
    BODY_EVENTS = 44,
    BODY_PARENT_ALERTS = 46,
    BODY_ALERTS = 48,
    BODY_SATURATED = 50,
    BODY_PHASE = 52,
    BODY_RESULT = 53,
    BODY_LOOKS = 54,
    PACK_BYTES = 8
};
enum { SHADOWS = 1, TRIAL = 2 };

enum { IMAGE_MAGIC = 0x42504654, IMAGE_VERSION = 1, IMAGE_HEAD = 16 };
typedef char tfin_a_probation_image_is_head_and_body
    [TFIN_PROBATION_IMAGE_BYTES == IMAGE_HEAD + TFIN_PROBATION_BODY_BYTES ? 1 : -1];

static uint8_t *body_of(const tfin_probation *p)
{
    return (uint8_t *)(uintptr_t)p->body;
}

/* ---- bounds */

static int ascends(const uint8_t *p, uint32_t count)
{
    for (; count > 1u; count--, p += 4) {
        if (tfin_u32(p) >= tfin_u32(p + 4)) {
            return 0;
        }
    }
    return 1;
}

static int looks_ok(const uint8_t *look, uint32_t count)
{
    uint32_t before = 0;
    for (; count != 0; count--, look += PROB_LOOK) {
        uint32_t events = tfin_u16(look);
        if (events <= before) {
            return 0;
        }
        before = events;
    }
    return 1;
}

/* The bounds of a pack that was verified; null when it has none that can be used. */
static const uint8_t *bounds_of(const uint8_t *pack)
{
    uint32_t size;
    const uint8_t *b = tfin_section(pack, SECTION_TAG('P', 'R', 'O', 'B'), &size);
    if (b == NULL || size < PROB_HEAD) {
        return NULL;
    }
    uint32_t looks = b[PROB_LOOKS];
    int ok = looks >= 1u && looks <= MOST_LOOKS && size == PROB_HEAD + PROB_LOOK * looks &&
             b[PROB_FLAGS] <= (TRIAL_BY_ITSELF | CONFIRMS_ITSELF) && tfin_u32(b + PROB_ZERO) == 0 &&
             ascends(b + PROB_CUTS, CUTS) && ascends(b + PROB_CUTS + 4u * CUTS, CUTS) &&
             looks_ok(b + PROB_HEAD, looks);
    return ok ? b : NULL;
}

static int same_program(const tfin_engine *running, const uint8_t *pack)
{
    return memcmp(running->pack + HEADER_STATE_LAYOUT, pack + HEADER_STATE_LAYOUT, 16) == 0;
}

static int replaces(const tfin_engine *running, const uint8_t *bounds)
{
    return memcmp(tfin_model_id(running->pack), bounds + PROB_PARENT, 16) == 0;
}

int tfin_probation_possible(const tfin_engine *running, const void *candidate,
                            size_t candidate_bytes)
{
    int32_t memory = tfin_memory_size(candidate, candidate_bytes); /* walks what may be damaged */
    if (tfin_usable(running) != TFIN_OK || running->plan == NULL || memory < 0 ||
        (uint32_t)memory > running->memory_bytes) {
        return 0;
    }
    uint32_t size;
    const uint8_t *bounds = bounds_of(candidate);
    return bounds != NULL && same_program(running, candidate) && replaces(running, bounds) &&
           tfin_section(candidate, SECTION_TAG('P', 'L', 'A', 'N'), &size) != NULL;
}

#ifdef TFIN_SHADOW_STATE
int tfin_probation_possible_apart(const tfin_engine *running, const void *candidate,
                                  size_t candidate_bytes)
{
    if (tfin_usable(running) != TFIN_OK || running->plan == NULL ||
        tfin_memory_size(candidate, candidate_bytes) < 0) {
        return 0;
    }
    uint32_t size;
    const uint8_t *bounds = bounds_of(candidate);
    return bounds != NULL && !same_program(running, candidate) && replaces(running, bounds) &&
           tfin_section(candidate, SECTION_TAG('P', 'L', 'A', 'N'), &size) != NULL;
}
#endif

/* ---- beginning */

/* The engine with the pack in shadow in place of the one that runs: features, memory and progress
 * are shared. Its sections are looked for again at every event, which takes two hundred
 * instructions, so that no memory holds where they are. */
static void look_as_shadow(const tfin_probation *p, tfin_engine *view)
{
    uint32_t size;
    *view = *p->engine;
    view->maps = tfin_section(p->pack, SECTION_TAG('M', 'A', 'P', 'S'), &size);
    view->plan = tfin_section(p->pack, SECTION_TAG('P', 'L', 'A', 'N'), &size);
    view->readout = tfin_section(p->pack, SECTION_TAG('R', 'E', 'A', 'D'), &size);
    view->calibration = tfin_section(p->pack, SECTION_TAG('C', 'A', 'L', 'I'), &size);
    view->decision = tfin_section(p->pack, SECTION_TAG('D', 'E', 'C', 'I'), &size);
    view->thresholds = view->decision;
}

static void begin_body(tfin_probation *p, const uint8_t *pack_id, uint32_t phase)
{
    uint8_t *body = body_of(p);
    memcpy(p->running, p->engine->pack_id, sizeof p->running);
    memset(body, 0, sizeof p->body);
    memcpy(body + BODY_PACK, pack_id, PACK_BYTES);
    body[BODY_PHASE] = (uint8_t)phase;
    body[BODY_RESULT] = TFIN_PROBATION_GOES_ON;
}

int tfin_probation_shadow(tfin_probation *p, tfin_engine *running, const tfin_verified *candidate)
{
    if (p == NULL) {
        return TFIN_E_ARGUMENT;
    }
    memset(p, 0, sizeof *p);
    int rc = candidate == NULL ? TFIN_E_ARGUMENT : tfin_usable(running);
    rc = rc == TFIN_OK ? tfin_receipt(candidate) : rc;
    if (rc != TFIN_OK) {
        return rc;
    }
    const tfin_engine *other = &candidate->unbound;
    const uint8_t *bounds = bounds_of(other->pack);
    if (bounds == NULL) {
        return TFIN_E_SECTION;
    }
    if (!same_program(running, other->pack)) {
        return TFIN_E_STATE_LAYOUT;
    }
    if (running->plan == NULL || other->plan == NULL) {
        return TFIN_E_NO_MODEL;
    }
    if (!replaces(running, bounds)) {
        return TFIN_E_MODEL;
    }
    if (candidate->memory_bytes > running->memory_bytes) {
        return TFIN_E_MEMORY;
    }
    p->engine = running;
    p->pack = other->pack;
    tfin_engine view;
    look_as_shadow(p, &view);
    rc = tfin_run_golden(&view, candidate->golden);
    if (rc != TFIN_OK) {
        memset(p, 0, sizeof *p);
        return rc;
    }
    p->bounds = bounds;
    begin_body(p, other->pack_id, SHADOWS);
    return TFIN_OK;
}

#ifdef TFIN_SHADOW_STATE
int tfin_probation_apart(tfin_probation *p, tfin_engine *running, const tfin_engine *own)
{
    if (p == NULL) {
        return TFIN_E_ARGUMENT;
    }
    memset(p, 0, sizeof *p);
    int rc = tfin_usable(running);
    rc = rc == TFIN_OK ? tfin_usable(own) : rc;
    if (rc != TFIN_OK || own->state == running->state) {
        return rc != TFIN_OK ? rc : TFIN_E_ARGUMENT;
    }
    const uint8_t *bounds = bounds_of(own->pack);
    if (bounds == NULL) {
        return TFIN_E_SECTION;
    }
    if (running->plan == NULL || own->plan == NULL) {
        return TFIN_E_NO_MODEL;
    }
    if (!replaces(running, bounds)) {
        return TFIN_E_MODEL;
    }
    p->engine = running;
    p->pack = own->pack;
    p->bounds = bounds;
    begin_body(p, own->pack_id, SHADOWS);
    /* another pack than the one that is open, so that tfin_probation_count counts nothing */
    memcpy(p->running, own->pack_id, sizeof p->running);
    return TFIN_OK;
}
#endif

int tfin_probation_trial(tfin_probation *p, tfin_engine *running)
{
    if (p == NULL) {
        return TFIN_E_ARGUMENT;
    }
    memset(p, 0, sizeof *p);
    int rc = tfin_usable(running);
    if (rc != TFIN_OK) {
        return rc;
    }
    const uint8_t *bounds = bounds_of(running->pack);
    if (bounds == NULL || tfin_u16(bounds + PROB_TRIAL_EVENTS) == 0) {
        return TFIN_E_SECTION;
    }
    p->engine = running;
    p->bounds = bounds;
    begin_body(p, running->pack_id, TRIAL);
    return TFIN_OK;
}

/* ---- counting */

static uint32_t bin_of(const uint8_t *cuts, uint32_t score_q32)
{
    uint32_t bin = 0;
    while (bin < CUTS && tfin_u32(cuts + 4u * bin) <= score_q32) {
        bin++;
    }
    return bin;
}

/* No count can be larger than the events, and they end at a look of 16 bits. */
static uint32_t count_one(uint8_t *at, uint32_t by)
{
    uint32_t value = tfin_u16(at) + by;
    tfin_put16(at, (uint16_t)value);
    return value;
}

/* What the table has off its diagonal: by at least `apart` bins. */
static uint32_t apart_by(const uint8_t *table, uint32_t apart)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < BINS; i++) {
        for (uint32_t k = 0; k < BINS; k++) {
            if (i + apart <= k || k + apart <= i) {
                sum += tfin_u16(table + 2u * (BINS * i + k));
            }
        }
    }
    return sum;
}

/* The population stability index of the columns against the rows, half an event added to each
 * bin, times 1024: log2 comes times 256 from the table of LOG2, and 2839 = 1024 * 4 * ln 2. */
static uint32_t stability_q10(const uint8_t *table, uint32_t events)
{
    int64_t sum = 0; /* differences below 2^18, logarithms below 2^13 */
    for (uint32_t i = 0; i < BINS; i++) {
        uint32_t row = 0;
        uint32_t column = 0;
        for (uint32_t k = 0; k < BINS; k++) {
            row += tfin_u16(table + 2u * (BINS * i + k));
            column += tfin_u16(table + 2u * (BINS * k + i));
        }
        int64_t difference = 2 * ((int64_t)column - row);
        sum += difference * (tfin_log2_q8(2 * (int64_t)column) - tfin_log2_q8(2 * (int64_t)row));
    }
    int64_t index = tfin_floor_div(sum * 2839, 1024 * (2 * (int64_t)events + 4));
    return index > UINT16_MAX ? UINT16_MAX : (uint32_t)index;
}

static enum tfin_probation_result judge_look(const tfin_probation *p, const uint8_t *look)
{
    const uint8_t *body = body_of(p);
    const uint8_t *table = body + BODY_TABLE;
    uint32_t parents = tfin_u16(body + BODY_PARENT_ALERTS);
    uint32_t allowed = (parents * tfin_u16(p->bounds + PROB_ALERTS_FACTOR) >> 8) +
                       tfin_u16(p->bounds + PROB_ALERTS_MORE);
    if (apart_by(table, 2) > tfin_u16(look + 2)) {
        return TFIN_PROBATION_FAR;
    }
    if (apart_by(table, 1) > tfin_u16(look + 4)) {
        return TFIN_PROBATION_DIFFERS;
    }
    if (stability_q10(table, tfin_u16(look)) > tfin_u16(look + 6)) {
        return TFIN_PROBATION_STABILITY;
    }
    return tfin_u16(body + BODY_ALERTS) > allowed ? TFIN_PROBATION_ALERTS : TFIN_PROBATION_GOES_ON;
}

/* An event of both packs; `view` is overwritten. */
static enum tfin_probation_result count_both(tfin_probation *p, tfin_engine *view,
                                             const tfin_verdict *parents, const tfin_verdict *own)
{
    uint8_t *body = body_of(p);
    uint8_t action = tfin_advise(view, own->score_q32);
    view->decision = view->thresholds = p->engine->decision; /* the bounds know of no other level */
    uint32_t row = bin_of(p->bounds + PROB_CUTS, parents->score_q32);
    uint32_t column = bin_of(p->bounds + PROB_CUTS + 4u * CUTS, own->score_q32);
    (void)count_one(body + BODY_TABLE + 2u * (BINS * row + column), 1);
    (void)count_one(body + BODY_PARENT_ALERTS,
                    tfin_advise(view, parents->score_q32) != TFIN_ACTION_ACCEPT);
    (void)count_one(body + BODY_ALERTS, action != TFIN_ACTION_ACCEPT);
    uint32_t crc = tfin_u32(body + BODY_DIGEST);
    crc = tfin_crc32(crc, &own->raw, sizeof own->raw);
    crc = tfin_crc32(crc, &own->score_q32, sizeof own->score_q32);
    tfin_put32(body + BODY_DIGEST, tfin_crc32(crc, &action, 1));
    uint32_t events = count_one(body + BODY_EVENTS, 1);
    const uint8_t *look = p->bounds + PROB_HEAD + PROB_LOOK * tfin_u16(body + BODY_LOOKS);
    if (events != tfin_u16(look)) {
        return TFIN_PROBATION_GOES_ON;
    }
    enum tfin_probation_result result = judge_look(p, look);
    if (result == TFIN_PROBATION_GOES_ON &&
        count_one(body + BODY_LOOKS, 1) == p->bounds[PROB_LOOKS]) {
        result = TFIN_PROBATION_PASSED;
    }
    return result;
}

static enum tfin_probation_result count_shadow(tfin_probation *p, const tfin_verdict *parents)
{
    tfin_engine view;
    tfin_verdict own;
    look_as_shadow(p, &view);
    tfin_judge(&view, &own);
    return count_both(p, &view, parents, &own);
}

static enum tfin_probation_result count_trial(const tfin_probation *p, const tfin_verdict *verdict)
{
    uint8_t *body = body_of(p);
    uint32_t alerts = count_one(body + BODY_ALERTS, verdict->action != TFIN_ACTION_ACCEPT);
    uint32_t saturated =
        count_one(body + BODY_SATURATED, (verdict->flags & TFIN_FLAG_SATURATED) != 0);
    uint32_t events = count_one(body + BODY_EVENTS, 1);
    if (alerts > tfin_u16(p->bounds + PROB_TRIAL_ALERTS)) {
        return TFIN_PROBATION_ALERTS;
    }
    if (saturated > tfin_u16(p->bounds + PROB_TRIAL_SATURATED)) {
        return TFIN_PROBATION_SATURATED;
    }
    return events == tfin_u16(p->bounds + PROB_TRIAL_EVENTS) ? TFIN_PROBATION_PASSED
                                                             : TFIN_PROBATION_GOES_ON;
}

int tfin_probation_count(tfin_probation *p, const tfin_verdict *verdict)
{
    if (p == NULL || verdict == NULL) {
        return TFIN_E_ARGUMENT;
    }
    uint8_t *body = body_of(p);
    if (body[BODY_RESULT] != TFIN_PROBATION_GOES_ON || tfin_usable(p->engine) != TFIN_OK ||
        memcmp(p->engine->pack_id, p->running, sizeof p->running) != 0) {
        return 0;
    }
    enum tfin_probation_result result =
        body[BODY_PHASE] == SHADOWS ? count_shadow(p, verdict) : count_trial(p, verdict);
    body[BODY_RESULT] = (uint8_t)result;
    return result != TFIN_PROBATION_GOES_ON;
}

#ifdef TFIN_SHADOW_STATE
int tfin_probation_count_apart(tfin_probation *p, const tfin_engine *own,
                               const tfin_verdict *verdict, const tfin_verdict *shadows)
{
    if (p == NULL || verdict == NULL || shadows == NULL) {
        return TFIN_E_ARGUMENT;
    }
    uint8_t *body = body_of(p);
    if (body[BODY_RESULT] != TFIN_PROBATION_GOES_ON || tfin_usable(p->engine) != TFIN_OK ||
        tfin_usable(own) != TFIN_OK || own->pack != p->pack ||
        memcmp(own->pack_id, p->running, sizeof p->running) != 0 ||
        !replaces(p->engine, p->bounds) || (shadows->flags & TFIN_FLAG_COLD) != 0) {
        return 0;
    }
    tfin_engine view = *own;
    view.thresholds = view.decision;
    enum tfin_probation_result result = count_both(p, &view, verdict, shadows);
    body[BODY_RESULT] = (uint8_t)result;
    return result != TFIN_PROBATION_GOES_ON;
}
#endif

enum tfin_probation_result tfin_probation_result(const tfin_probation *p)
{
    return p == NULL ? TFIN_PROBATION_NONE : (enum tfin_probation_result)body_of(p)[BODY_RESULT];
}

int tfin_probation_advances(const tfin_probation *p)
{
    if (tfin_probation_result(p) != TFIN_PROBATION_PASSED) {
        return 0;
    }
    uint32_t needed = body_of(p)[BODY_PHASE] == SHADOWS ? TRIAL_BY_ITSELF : CONFIRMS_ITSELF;
    return (p->bounds[PROB_FLAGS] & needed) != 0;
}

/* ---- images */

int tfin_probation_export(const tfin_probation *p, void *out)
{
    if (p == NULL || out == NULL || p->bounds == NULL) {
        return TFIN_E_ARGUMENT;
    }
    const uint16_t version_and_size[2] = {IMAGE_VERSION, TFIN_PROBATION_IMAGE_BYTES};
    const uint32_t magic = IMAGE_MAGIC;
    const uint32_t crc = tfin_crc32(0, p->body, sizeof p->body);
    uint8_t *image = out;
    memset(image, 0, IMAGE_HEAD);
    memcpy(image, &magic, 4);
    memcpy(image + 4, version_and_size, 4);
    memcpy(image + 8, &crc, 4);
    memcpy(image + IMAGE_HEAD, p->body, sizeof p->body);
    return TFIN_OK;
}

/* Counts that events of this pack in this phase can have made: none is beyond the bounds' ends, so
 * that what follows reads no look that there is not, and comes to the next one; and nothing has
 * passed before its last event. */
static int body_ok(const tfin_probation *p, const uint8_t *body)
{
    const uint8_t *bounds = p->bounds;
    uint32_t looks = tfin_u16(body + BODY_LOOKS);
    uint32_t events = tfin_u16(body + BODY_EVENTS);
    uint32_t end = tfin_u16(bounds + PROB_TRIAL_EVENTS);
    uint32_t goes_on = body[BODY_RESULT] == TFIN_PROBATION_GOES_ON;
    int passed = body[BODY_RESULT] == TFIN_PROBATION_PASSED;
    if (body[BODY_PHASE] == SHADOWS) {
        end = tfin_u16(bounds + PROB_HEAD + PROB_LOOK * (bounds[PROB_LOOKS] - 1u));
        uint32_t sum = apart_by(body + BODY_TABLE, 0);
        if (sum != events || looks > bounds[PROB_LOOKS] ||
            (looks != 0 && events < tfin_u16(bounds + PROB_HEAD + PROB_LOOK * (looks - 1u))) ||
            (looks < bounds[PROB_LOOKS] &&
             events + goes_on > tfin_u16(bounds + PROB_HEAD + PROB_LOOK * looks)) ||
            (passed && looks != bounds[PROB_LOOKS])) {
            return 0;
        }
    }
    return events <= end && (!passed || events == end) &&
           body[BODY_RESULT] >= TFIN_PROBATION_GOES_ON &&
           body[BODY_RESULT] <= TFIN_PROBATION_SATURATED && events + goes_on <= end &&
           tfin_u16(body + BODY_ALERTS) <= events &&
           tfin_u16(body + BODY_PARENT_ALERTS) <= events &&
           tfin_u16(body + BODY_SATURATED) <= events;
}

int tfin_probation_import(tfin_probation *p, const void *image)
{
    if (p == NULL || image == NULL || p->bounds == NULL) {
        return TFIN_E_ARGUMENT;
    }
    uint32_t words[TFIN_PROBATION_IMAGE_BYTES / 4];
    memcpy(words, image, sizeof words);
    const uint8_t *body = (const uint8_t *)words + IMAGE_HEAD;
    if (words[0] != IMAGE_MAGIC) {
        return TFIN_E_STATE_MAGIC;
    }
    if (words[1] != (IMAGE_VERSION | (uint32_t)TFIN_PROBATION_IMAGE_BYTES << 16)) {
        return TFIN_E_STATE_FORMAT;
    }
    if (words[2] != tfin_crc32(0, body, TFIN_PROBATION_BODY_BYTES) || words[3] != 0) {
        return TFIN_E_STATE_DIGEST;
    }
    if (memcmp(body, p->body, PACK_BYTES) != 0 || body[BODY_PHASE] != body_of(p)[BODY_PHASE] ||
        !body_ok(p, body)) {
        return TFIN_E_STATE_LAYOUT;
    }
    memcpy(p->body, body, sizeof p->body);
    return TFIN_OK;
}
