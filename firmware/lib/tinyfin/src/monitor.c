/* SPDX-License-Identifier: Apache-2.0 */
/* Histograms of score and features, and the level of the thresholds that keeps the alert budget.
 * The memory is the image behind its header. */
#include "tinyfin_monitor.h"

#include "internal.h"

/* DRFT: an entry for the score, with edges of 4 bytes, then one per feature, with edges of 2. */
enum { FIRST = 0, BINS = 1, EDGES = 4, MAX_BINS = 16, SCORE_EDGE = 4, FEATURE_EDGE = 2 };
/* LEVL */
enum {
    LEVELS = 0,
    USUAL = 1,
    STEP_EVENTS = 2,
    TARGET = 4,
    STEP_SECONDS = 8,
    LIMIT = 12,
    LEVELS_ZERO = 14,
    THRESHOLDS = 16,
    LEVEL_BYTES = 8,
    MAX_LEVELS = 8,
    MAX_LIMIT = 64
};
/* an image behind its header */
enum {
    EVENTS = 0,
    STEP_S = 4,
    BALANCE = 8,
    UNSTEPPED = 12,
    LEVEL = 14,
    HALVINGS = 15,
    COUNTS = 16
};
/* the header of an image */
enum {
    IMAGE_MAGIC = 0x4E4D4654,
    IMAGE_VERSION = 1,
    AT_PACK = 16,
    PACK_BYTES = 8,
    HEADER = TFIN_MONITOR_HEADER
};

/* ---- sections */

static uint32_t entry_bytes(const uint8_t *entry, uint32_t edge)
{
    return EDGES + edge * (entry[BINS] - 1u) + 2u * entry[BINS];
}

static const uint8_t *next_entry(const uint8_t *entry, const uint8_t *drift)
{
    return entry + entry_bytes(entry, entry == drift ? SCORE_EDGE : FEATURE_EDGE);
}

static uint32_t bin_of_score(const uint8_t *entry, uint32_t score_q32)
{
    const uint8_t *edge = entry + EDGES;
    uint32_t bin = 0;
    for (; bin + 1u < entry[BINS] && score_q32 >= tfin_u32(edge); edge += SCORE_EDGE) {
        bin++;
    }
    return bin;
}

static uint32_t bin_of_feature(const uint8_t *entry, int16_t feature)
{
    const uint8_t *edge = entry + EDGES;
    uint32_t bin = 0;
    for (; bin + 1u < entry[BINS] && feature >= tfin_i16(edge); edge += FEATURE_EDGE) {
        bin++;
    }
    return bin;
}

static int edges_ascend(const uint8_t *entry, uint32_t edge)
{
    for (uint32_t i = 1; i + 1u < entry[BINS]; i++) {
        const uint8_t *at = entry + EDGES + edge * i;
        if (edge == SCORE_EDGE ? tfin_u32(at) <= tfin_u32(at - edge)
                               : tfin_i16(at) <= tfin_i16(at - edge)) {
            return 0;
        }
    }
    return 1;
}

/* Bytes of counts that DRFT asks for, or an error. Weights and inflations are not read here. */
static int32_t check_drift(const uint8_t *drift, uint32_t size, uint32_t features)
{
    const uint8_t *entry = drift;
    uint32_t counts = 0, left = size, edge = SCORE_EDGE;
    int32_t before = -1;
    if (size < EDGES || drift[FIRST] > MAX_FEATURES) {
        return TFIN_E_SECTION;
    }
    for (uint32_t i = 0; i <= drift[FIRST]; i++) {
        if (left < EDGES || entry[BINS] < 2u || entry[BINS] > MAX_BINS ||
            entry_bytes(entry, edge) > left || !edges_ascend(entry, edge)) {
            return TFIN_E_SECTION;
        }
        if (i != 0) {
            if (entry[FIRST] >= features || entry[FIRST] <= before) {
                return TFIN_E_SECTION;
            }
            before = entry[FIRST];
        }
        counts += 2u * entry[BINS];
        left -= entry_bytes(entry, edge);
        entry += entry_bytes(entry, edge);
        edge = FEATURE_EDGE;
    }
    return left == 0 ? (int32_t)counts : TFIN_E_SECTION;
}

static int levels_ok(const uint8_t *s, uint32_t size, const uint8_t *decision)
{
    if (size < THRESHOLDS || s[LEVELS] < 2u || s[LEVELS] > MAX_LEVELS || s[USUAL] >= s[LEVELS] ||
        size != THRESHOLDS + LEVEL_BYTES * (uint32_t)s[LEVELS] || tfin_u32(s + TARGET) == 0 ||
        tfin_u32(s + TARGET) >> 24 != 0 || tfin_u16(s + LIMIT) == 0 ||
        tfin_u16(s + LIMIT) > MAX_LIMIT || tfin_u16(s + LEVELS_ZERO) != 0 ||
        memcmp(s + THRESHOLDS + LEVEL_BYTES * (uint32_t)s[USUAL], decision, LEVEL_BYTES) != 0) {
        return 0;
    }
    const uint8_t *level = s + THRESHOLDS;
    for (uint32_t i = 0; i < s[LEVELS]; i++, level += LEVEL_BYTES) {
        uint32_t online = tfin_u32(level), decline = tfin_u32(level + DECISION_DECLINE);
        if (decline < online || (i != 0 && (online < tfin_u32(level - LEVEL_BYTES) ||
                                            decline < tfin_u32(level - LEVEL_BYTES + 4)))) {
            return 0;
        }
    }
    return 1;
}

/* Finds the sections of the engine's pack. What tfin_monitor_bytes says. */
static int32_t find(const tfin_engine *e, const uint8_t **drift, const uint8_t **levels)
{
    uint32_t drift_size, levels_size;
    int32_t counts = 0;
    *drift = tfin_section(e->pack, SECTION_TAG('D', 'R', 'F', 'T'), &drift_size);
    *levels = tfin_section(e->pack, SECTION_TAG('L', 'E', 'V', 'L'), &levels_size);
    if (*drift == NULL && *levels == NULL) {
        return 0;
    }
    if (e->plan == NULL || (*levels != NULL && !levels_ok(*levels, levels_size, e->decision))) {
        return TFIN_E_SECTION;
    }
    if (*drift != NULL) {
        counts = check_drift(*drift, drift_size, tfin_u16(e->program + PROG_FEATURES));
    }
    return counts < 0 ? counts : COUNTS + counts;
}

int32_t tfin_monitor_bytes(const tfin_engine *e)
{
    const uint8_t *drift, *levels;
    int rc = tfin_usable(e);
    return rc != TFIN_OK ? rc : find(e, &drift, &levels);
}

/* ---- counting */

static void use_level(const tfin_monitor *m)
{
    if (m->levels != NULL) {
        m->engine->thresholds = m->levels + THRESHOLDS + LEVEL_BYTES * (uint32_t)m->memory[LEVEL];
    }
}

int tfin_monitor_open(tfin_monitor *m, tfin_engine *e, void *memory, size_t memory_size)
{
    if (m == NULL) {
        return TFIN_E_ARGUMENT;
    }
    memset(m, 0, sizeof *m);
    int rc = tfin_usable(e);
    if (rc != TFIN_OK || memory == NULL) {
        return rc != TFIN_OK ? rc : TFIN_E_ARGUMENT;
    }
    const uint8_t *drift, *levels;
    int32_t bytes = find(e, &drift, &levels);
    if (bytes <= 0) {
        return TFIN_E_SECTION;
    }
    if (((uintptr_t)memory & 3u) != 0) {
        return TFIN_E_ALIGN;
    }
    if (memory_size < (size_t)bytes) {
        return TFIN_E_MEMORY;
    }
    m->engine = e;
    m->drift = drift;
    m->levels = levels;
    m->memory = memory;
    memcpy(m->pack, e->pack_id, sizeof m->pack);
    memset(memory, 0, (size_t)bytes);
    m->memory[LEVEL] = levels != NULL ? levels[USUAL] : 0;
    use_level(m);
    return TFIN_OK;
}

static uint32_t bytes_of(const tfin_monitor *m)
{
    uint32_t bytes = COUNTS;
    const uint8_t *entry = m->drift;
    for (uint32_t n = entry != NULL ? entry[FIRST] + 1u : 0; n != 0; n--) {
        bytes += 2u * entry[BINS];
        entry = next_entry(entry, m->drift);
    }
    return bytes;
}

/* Adds 1 or -1 to the event's count in every histogram, modulo 2^16. 1: one is 0 now. */
static int tally(const tfin_monitor *m, uint32_t score_q32, const int16_t *features, int by)
{
    const uint8_t *entry = m->drift;
    uint8_t *counts = m->memory + COUNTS;
    uint32_t bin = bin_of_score(entry, score_q32);
    int zero = 0;
    for (uint32_t left = entry[FIRST];; left--) {
        uint16_t count = (uint16_t)(tfin_u16(counts + 2u * bin) + by);
        tfin_put16(counts + 2u * bin, count);
        zero |= count == 0;
        if (left == 0) {
            return zero;
        }
        counts += 2u * entry[BINS];
        entry = next_entry(entry, m->drift);
        bin = bin_of_feature(entry, features[entry[FIRST]]);
    }
}

static void halve(const tfin_monitor *m)
{
    for (uint8_t *at = m->memory + bytes_of(m) - 2; at >= m->memory + COUNTS; at -= 2) {
        tfin_put16(at, tfin_u16(at) >> 1);
    }
    m->memory[HALVINGS] = (uint8_t)(m->memory[HALVINGS] + (m->memory[HALVINGS] < UINT8_MAX));
}

/* 1 when the level has changed. On the way back to the usual level no time is waited for that does
 * not pass: the clock of a terminal may have been led far ahead. */
static int control(const tfin_monitor *m, int alert, int clock_stays)
{
    const uint8_t *s = m->levels;
    uint8_t *w = m->memory;
    uint32_t clock = tfin_u32(m->engine->state + HEAD_LAST_T);
    int32_t limit = (int32_t)tfin_u16(s + LIMIT) << 24;
    int32_t balance = tfin_i32(w + BALANCE) + (alert ? 1 << 24 : 0) - (int32_t)tfin_u32(s + TARGET);
#ifndef TFIN_SABOTAGE_CLAMP
    balance = balance > limit ? limit : balance < -limit ? -limit : balance;
#endif
    uint32_t since = tfin_u16(w + UNSTEPPED);
    since += since < UINT16_MAX;
    if (tfin_u32(w + EVENTS) == 1u || clock < tfin_u32(w + STEP_S)) {
        tfin_put32(w + STEP_S, clock);
    }
    tfin_put32(w + BALANCE, (uint32_t)balance);
    tfin_put16(w + UNSTEPPED, (uint16_t)since);
    int up = balance >= limit;
    if ((!up && balance > -limit) || since < tfin_u16(s + STEP_EVENTS)) {
        return 0;
    }
    int returns = up ? w[LEVEL] < s[USUAL] : w[LEVEL] > s[USUAL];
    uint32_t wait_s = clock_stays && returns ? 0 : tfin_u32(s + STEP_SECONDS);
#ifdef TFIN_SABOTAGE_DAY
    wait_s = 0;
#endif
    if (clock - tfin_u32(w + STEP_S) < wait_s) {
        return 0;
    }
#ifndef TFIN_SABOTAGE_SPAN
    if (w[LEVEL] == (up ? s[LEVELS] - 1 : 0)) {
        return 0;
    }
#endif
    w[LEVEL] = (uint8_t)(up ? w[LEVEL] + 1 : w[LEVEL] - 1);
    tfin_put32(w + STEP_S, clock);
    tfin_put32(w + BALANCE, 0);
    tfin_put16(w + UNSTEPPED, 0);
    use_level(m);
    return 1;
}

static int usable(const tfin_monitor *m)
{
    int rc = m == NULL           ? TFIN_E_ARGUMENT
             : m->memory == NULL ? TFIN_E_CLOSED
                                 : tfin_usable(m->engine);
    /* another pack's sections say nothing of this one's features and thresholds */
    return rc == TFIN_OK && memcmp(m->pack, m->engine->pack_id, sizeof m->pack) != 0 ? TFIN_E_CLOSED
                                                                                     : rc;
}

int tfin_monitor_count(tfin_monitor *m, const tfin_verdict *v)
{
    uint32_t count;
    int rc = usable(m);
    const int16_t *features = rc == TFIN_OK ? tfin_features(m->engine, &count) : NULL;
    if (features == NULL || count == 0 || v == NULL) {
        return rc != TFIN_OK ? rc : TFIN_E_ARGUMENT;
    }
    tfin_count(m->memory, EVENTS, 1);
    if (m->drift != NULL && tally(m, v->score_q32, features, 1)) {
        (void)tally(m, v->score_q32, features, -1);
        halve(m);
        (void)tally(m, v->score_q32, features, 1);
    }
    return m->levels != NULL && (v->flags & TFIN_FLAG_SHADOW) == 0 &&
           control(m, v->action != TFIN_ACTION_ACCEPT, (v->flags & TFIN_FLAG_CLOCK) != 0);
}

uint32_t tfin_monitor_events(const tfin_monitor *m)
{
    return usable(m) == TFIN_OK ? tfin_u32(m->memory + EVENTS) : 0;
}

uint32_t tfin_monitor_halvings(const tfin_monitor *m)
{
    return usable(m) == TFIN_OK ? m->memory[HALVINGS] : 0;
}

uint32_t tfin_monitor_level(const tfin_monitor *m)
{
    return usable(m) == TFIN_OK ? m->memory[LEVEL] : 0;
}

uint32_t tfin_monitor_histogram(const tfin_monitor *m, uint32_t index, const uint16_t **counts)
{
    const uint8_t *entry = usable(m) == TFIN_OK ? m->drift : NULL;
    if (entry == NULL || index > entry[FIRST]) {
        return 0;
    }
    const uint8_t *at = m->memory + COUNTS;
    for (; index != 0; index--) {
        at += 2u * entry[BINS];
        entry = next_entry(entry, m->drift);
    }
    *counts = (const uint16_t *)(const void *)__builtin_assume_aligned(at, 2);
    return entry[BINS];
}

/* ---- image */

uint32_t tfin_monitor_size(const tfin_monitor *m)
{
    return usable(m) == TFIN_OK ? HEADER + bytes_of(m) : 0;
}

int tfin_monitor_export(const tfin_monitor *m, void *out, uint32_t size)
{
    uint32_t total = tfin_monitor_size(m);
    if (total == 0 || out == NULL || size < total) {
        return usable(m) != TFIN_OK ? usable(m) : TFIN_E_ARGUMENT;
    }
    uint32_t head[4] = {IMAGE_MAGIC, IMAGE_VERSION | total << 16,
                        tfin_crc32(0, m->memory, total - HEADER), 0};
    uint8_t *to = out;
    memcpy(to, head, sizeof head);
    memcpy(to + AT_PACK, m->pack, PACK_BYTES);
    memcpy(to + HEADER, m->memory, total - HEADER);
    return TFIN_OK;
}

static uint32_t sum(const uint8_t *counts, uint32_t bins)
{
    uint32_t all = 0;
    for (; bins != 0; bins--, counts += 2) {
        all += (uint32_t)counts[0] | (uint32_t)counts[1] << 8;
    }
    return all;
}

/* The numbers of an image are such as counting gives. `head` is a copy of those before the counts,
 * which may lie anywhere. */
static int numbers_ok(const tfin_monitor *m, const uint8_t head[COUNTS], const uint8_t *counts)
{
#ifdef TFIN_SABOTAGE_COUNTS
    return 1;
#endif
    const uint8_t *entry = m->drift, *s = m->levels;
    uint32_t events = tfin_u32(head + EVENTS), since = tfin_u16(head + UNSTEPPED);
    int32_t balance = tfin_i32(head + BALANCE);
    int32_t limit = s != NULL ? (int32_t)tfin_u16(s + LIMIT) << 24 : 0;
    if (balance > limit || balance < -limit || since > events ||
        head[LEVEL] >= (s != NULL ? s[LEVELS] : 1) ||
        (s == NULL && (since != 0 || tfin_u32(head + STEP_S) != 0)) ||
        (entry == NULL && head[HALVINGS] != 0)) {
        return 0;
    }
    for (uint32_t n = entry != NULL ? entry[FIRST] + 1u : 0; n != 0; n--) {
        uint32_t all = sum(counts, entry[BINS]);
        if (all > events || (head[HALVINGS] == 0 && all != events)) {
            return 0;
        }
        counts += 2u * entry[BINS];
        entry = next_entry(entry, m->drift);
    }
    return 1;
}

int tfin_monitor_import(tfin_monitor *m, const void *image, uint32_t size)
{
    uint32_t head[4];
    uint8_t first[COUNTS] __attribute__((aligned(4)));
    const uint8_t *from = image;
    uint32_t total = tfin_monitor_size(m);
    if (total == 0 || image == NULL) {
        return usable(m) != TFIN_OK ? usable(m) : TFIN_E_ARGUMENT;
    }
    if (size < HEADER + COUNTS) {
        return TFIN_E_STATE_MAGIC;
    }
    memcpy(head, from, sizeof head);
    memcpy(first, from + HEADER, sizeof first);
    if (head[0] != IMAGE_MAGIC) {
        return TFIN_E_STATE_MAGIC;
    }
    if ((head[1] & 0xFFFFu) != IMAGE_VERSION || head[3] != 0) {
        return TFIN_E_STATE_FORMAT;
    }
    if (head[1] >> 16 != total || memcmp(from + AT_PACK, m->pack, PACK_BYTES) != 0) {
        return TFIN_E_STATE_LAYOUT;
    }
    if (size != total || tfin_crc32(0, from + HEADER, total - HEADER) != head[2] ||
        !numbers_ok(m, first, from + HEADER + COUNTS)) {
        return TFIN_E_STATE_DIGEST;
    }
    memcpy(m->memory, from + HEADER, total - HEADER);
    use_level(m);
    return TFIN_OK;
}
