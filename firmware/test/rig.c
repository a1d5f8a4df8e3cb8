/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200112L /* posix_memalign */
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>

#include "internal.h"

/* ---- decisions */

uint32_t rig_u32(rig_source *s)
{
    uint32_t v = 0;
    if (s->left != 0) {
        size_t n = s->left < 4u ? s->left : 4u;
        memcpy(&v, s->data, n);
        s->data += n;
        s->left -= n;
    } else if (s->seed != 0) {
        s->seed ^= s->seed << 13;
        s->seed ^= s->seed >> 7;
        s->seed ^= s->seed << 17;
        v = (uint32_t)(s->seed >> 32);
    }
    return v;
}

uint32_t rig_below(rig_source *s, uint32_t n)
{
    return rig_u32(s) % n;
}

uint32_t rig_extreme(rig_source *s)
{
    static const uint32_t border[] = {
        0u,          1u,          2u,          7u,          8u,          15u,         16u,
        31u,         32u,         63u,         64u,         127u,        128u,        200u,
        254u,        255u,        256u,        0x3FFFu,     0x7FFFu,     0x8000u,     0xFFFCu,
        0xFFFFu,     0x10000u,    0x3FFFFFFFu, 0x7FFFFFF0u, 0x7FFFFFFFu, 0x80000000u, 0x80000001u,
        0xFFFFFFF0u, 0xFFFFFFFEu, 0xFFFFFFFFu};
    if (rig_below(s, 4) == 0) {
        return rig_u32(s);
    }
    return border[rig_below(s, sizeof border / sizeof border[0])];
}

int rig_more(const rig_source *s)
{
    return s->left != 0 || s->seed != 0;
}

/* ---- buffers */

uint8_t *rig_exact(size_t size)
{
    void *p = NULL;
    if (posix_memalign(&p, TFIN_ALIGN, size == 0 ? 1 : size) != 0) {
        fputs("rig: out of memory\n", stderr);
        exit(2);
    }
    memset(p, 0xA5, size == 0 ? 1 : size);
    return p;
}

uint8_t *rig_copy(const uint8_t *data, size_t size)
{
    uint8_t *p = rig_exact(size);
    memcpy(p, data, size);
    return p;
}

uint8_t *rig_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        perror(path);
        exit(2);
    }
    long end = ftell(file);
    rewind(file);
    uint8_t *p = rig_exact((size_t)end);
    *size = fread(p, 1, (size_t)end, file);
    fclose(file);
    return p;
}

/* ---- mutations */

void rig_mutate(rig_source *s, uint8_t *data, size_t size)
{
    if (size < 4u) {
        return;
    }
    for (uint32_t n = 1u + rig_below(s, 4); n != 0; n--) {
        uint32_t at = rig_below(s, (uint32_t)size);
        uint32_t value = rig_extreme(s);
        switch (rig_below(s, 5)) {
        case 0: data[at] = (uint8_t)value; break;
        case 1: data[at] ^= (uint8_t)(1u << (value & 7u)); break;
        case 2: memcpy(data + (at & ~1u) % (size - 1u), &value, 2); break;
        case 3: memcpy(data + (at & ~3u) % (size - 3u), &value, 4); break;
        default: data[at] = (uint8_t)(data[at] + (value & 15u) - 8u); break;
        }
    }
}

static size_t section_at(const uint8_t *pack, size_t size, uint32_t number, size_t *length)
{
    size_t at = HEADER_SIZE;
    for (;; number--) {
        uint32_t n;
        if (at + SECTION_HEADER > size) {
            return 0;
        }
        memcpy(&n, pack + at + 4, 4);
        if (n > size - at - SECTION_HEADER) {
            return 0;
        }
        if (number == 0) {
            *length = SECTION_HEADER + n;
            return at;
        }
        at += SECTION_HEADER + ((n + 15u) & ~15u);
    }
}

void rig_mutate_pack(rig_source *s, uint8_t *pack, size_t size)
{
    size_t length = size;
    size_t at = 0;
    if (rig_below(s, 8) != 0) {
        at = section_at(pack, size, rig_below(s, 8), &length);
        if (at == 0) {
            length = size;
        }
        if (rig_below(s, 8) != 0 && length > SECTION_HEADER + 4u) { /* mostly the payload */
            at += SECTION_HEADER;
            length -= SECTION_HEADER;
        }
        if (rig_below(s, 3) == 0 && length > 64u) { /* often its front */
            length = 64;
        }
    }
    rig_mutate(s, pack + at, length);
}

void rig_accept(uint8_t *pack, size_t size)
{
    uint32_t total = (uint32_t)size & ~15u;
    if (size < HEADER_SIZE) {
        return;
    }
    memcpy(pack, "TFPK\1\0\340\0", 8);
    memcpy(pack + 8, &total, 4);
    memset(pack + 12, 0, 12);
    pack[20] = 1;
    pack[24] = 1;
    pack[25] = 1;
    memset(pack + 28, 0x5A, 4);
    memset(pack + 40, 0x5A, 48); /* the hashes of its sections */
    memset(pack + 104, 0, 24);
    memset(pack + 128, 0x5A, 32);
}

/* ---- engine */

int rig_open(tfin_engine *e, const uint8_t *pack, size_t size, uint8_t **memory)
{
    static const uint32_t record_of_pack = 0;
    tfin_trust trust = {0};
    trust.record = &record_of_pack;
    trust.allow_development_key = 1;
    int32_t needed = tfin_memory_size(pack, size);
    size_t given = needed < 0 || needed > RIG_MOST_MEMORY ? 0 : (size_t)needed;
    *memory = rig_exact(given);
    static unsigned opened;
    tfin_verified verified;
    int rc;
    if (opened++ % 2u == 0) {
        rc = tfin_open(e, pack, size, *memory, given, &trust);
    } else {
        rc = tfin_verify(&verified, pack, size, &trust);
        rc = rc == TFIN_OK ? tfin_bind(e, &verified, *memory, given) : rc;
    }
    if (needed < 0 && rc == TFIN_OK) {
        fputs("rig: opened a pack whose size was refused\n", stderr);
        abort();
    }
    return rc;
}

tfin_engine *rig_engine_of(const char *path)
{
    static tfin_engine engine;
    static uint8_t *pack;
    static uint8_t *memory;
    if (pack == NULL) {
        size_t size;
        pack = rig_read(path, &size);
        rig_accept(pack, size);
        if (rig_open(&engine, pack, size, &memory) != TFIN_OK) {
            abort();
        }
    }
    (void)tfin_reset(&engine);
    return &engine;
}

static void touch(const void *data, size_t size)
{
    const volatile uint8_t *p = data;
    uint8_t sum = 0;
    for (size_t i = 0; i < size; i++) {
        sum = (uint8_t)(sum + p[i]);
    }
    (void)sum;
}

static uint32_t moment(rig_source *s, const tfin_engine *e)
{
    uint32_t now = tfin_u32(e->state);
    switch (rig_below(s, 16)) {
    case 0: return rig_extreme(s);
    case 1: return now - rig_below(s, 1000);
    case 2: return now + rig_below(s, 1u << 24);
    default: return now + rig_below(s, 4000);
    }
}

static void score(tfin_engine *e, rig_source *s)
{
    uint32_t full = e->schema->record_bytes;
    uint32_t how = rig_below(s, 8);
    uint32_t size =
        how == 0 ? rig_below(s, full + 32u) : (how == 1 ? full + 8u * rig_below(s, 4) : full);
    uint8_t *record = rig_exact(size);
    for (uint32_t i = 0; i + 4u <= size; i += 4u) {
        uint32_t word = rig_below(s, 3) == 0 ? rig_extreme(s) : rig_below(s, 300);
        memcpy(record + i, &word, 4);
    }
    uint32_t token = e->program[PROG_TOKEN_FIELD];
    if (token != NO_FIELD && rig_below(s, 4) != 0) {
        uint32_t at = tfin_schema_fields(e->schema)[token].offset;
        uint64_t card = rig_below(s, 12) * 0x9E3779B97F4A7C15u;
        if (at + 8u <= size) {
            memcpy(record + at, &card, 8);
        }
    }
    if (size >= 4u && rig_below(s, 8) != 0) {
        memset(record, 0xFF, 4); /* everything is present */
    }
    tfin_event event = {.id = rig_below(s, 16),
                        .t_mono_s = moment(s, e),
                        .t_local_s = rig_extreme(s),
                        .record = record,
                        .record_size = size};
    tfin_verdict verdict;
    if (tfin_score(e, &event, &verdict) == TFIN_OK) {
        uint32_t n;
        const int16_t *features = tfin_features(e, &n);
        touch(features, 2u * n);
        const int8_t *codes = tfin_network_input(e, &n);
        touch(codes, n);
        codes = tfin_network_output(e, &n);
        touch(codes, n);
        touch(&verdict, sizeof verdict);
        if (verdict.action > TFIN_ACTION_DECLINE || verdict.reason_count > TFIN_MAX_REASONS) {
            fputs("rig: absurd verdict\n", stderr);
            abort();
        }
    }
    free(record);
}

static void outcome(tfin_engine *e, rig_source *s)
{
    tfin_outcome o = {.id = rig_below(s, 16), .t_mono_s = moment(s, e)};
    o.result = (uint8_t)rig_below(s, 6);
    o.action_taken = (uint8_t)rig_below(s, 4);
    o.response = (int16_t)rig_extreme(s);
    (void)tfin_apply_outcome(e, &o);
}

static void notice(tfin_engine *e, rig_source *s)
{
    tfin_notice n = {.id = rig_below(s, 16), .token = rig_below(s, 12) * 0x9E3779B97F4A7C15u};
    n.t_mono_s = moment(s, e);
    n.t_tx_mono_s = moment(s, e);
    n.fraud = (uint8_t)rig_below(s, 3);
    (void)tfin_apply_notice(e, &n);
}

static uint8_t *take_image(const tfin_engine *e, rig_source *s, uint32_t *size)
{
    *size = tfin_state_size(e);
    uint8_t *image = rig_exact(*size);
    for (uint32_t at = 0; at < *size;) {
        uint32_t n = 1u + rig_below(s, *size);
        n = n > *size - at ? *size - at : n;
        uint8_t *piece = rig_exact(n);
        (void)tfin_export_state(e, at, piece, n);
        memcpy(image + at, piece, n);
        free(piece);
        at += n;
    }
    return image;
}

int rig_import(tfin_engine *e, rig_source *s, const uint8_t *given, uint32_t size)
{
    uint32_t whole = tfin_state_size(e);
    uint8_t *image = rig_exact(whole);
    memset(image, 0, whole);
    memcpy(image, given, size < whole ? size : whole);
    uint32_t body = whole - 64u;
    memcpy(image, "TFST\1\0\100\0", 8);
    memcpy(image + 8, &body, 4);
    memcpy(image + 16, e->pack + 72, 16);
    memset(image + 32, 0, 32);
    uint32_t crc = tfin_crc32(0, image + 64, body);
    memcpy(image + 12, &crc, 4);
    int rc = TFIN_OK;
    for (uint32_t at = 0; at < whole && rc == TFIN_OK;) {
        uint32_t least = at == 0 ? 64u : 1u;
        uint32_t n = least + rig_below(s, whole);
        n = n > whole - at ? whole - at : n;
        uint8_t *piece = rig_copy(image + at, n);
        rc = tfin_import_state(e, at, piece, n);
        free(piece);
        at += n;
        if (rig_below(s, 4) == 0) { /* a wild caller runs on before the image is whole */
            rig_drive(e, s, 2);
        }
    }
    free(image);
    return rc;
}

static void inspect(tfin_engine *e, rig_source *s)
{
    tfin_stats stats;
    (void)tfin_get_stats(e, &stats);
    touch(tfin_pack_id(e), 16);
    (void)tfin_erase_card(e, rig_below(s, 12) * 0x9E3779B97F4A7C15u);
    uint32_t n;
    (void)tfin_network_input(e, &n);
    uint8_t *codes = rig_exact(n);
    for (uint32_t i = 0; i < n; i++) {
        codes[i] = (uint8_t)rig_u32(s);
    }
    int32_t raw;
    (void)tfin_infer(e, (const int8_t *)codes, n, &raw);
    free(codes);
}

void rig_drive(tfin_engine *e, rig_source *s, uint32_t steps)
{
    for (; steps != 0 && rig_more(s); steps--) {
        switch (rig_below(s, 32)) {
        case 0: {
            uint32_t size;
            uint8_t *image = take_image(e, s, &size);
            (void)tfin_state_digest(e);
            free(image);
            break;
        }
        case 1: {
            uint32_t size;
            uint8_t *image = take_image(e, s, &size);
            if (steps > 4u && rig_below(s, 16) == 0) { /* no deeper than once */
                rig_mutate(s, image, size);
                (void)rig_import(e, s, image, size);
            }
            free(image);
            break;
        }
        case 2: inspect(e, s); break;
        case 3:
        case 4:
        case 5:
        case 6: notice(e, s); break;
        case 7:
        case 8:
        case 9:
        case 10:
        case 11:
        case 12:
        case 13:
        case 14: outcome(e, s); break;
        default: score(e, s); break;
        }
    }
}
