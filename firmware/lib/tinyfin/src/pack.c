/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a pack: integrity and trust, structure and contents, golden vectors. Nothing after this file doubts the pack again. */
#include "development_key.h"
#include "internal.h"
#include "net.h"
#include "tinyfin_port.h"

enum {
    AT_FORMAT = 4,
    AT_HEADER_SIZE = 6,
    AT_TOTAL = 8,
    AT_ENGINE = 12,
    AT_COUNTER = 16,
    AT_FLAGS = 20,
    AT_SIGNATURE_ALGORITHM = 24,
    AT_HASH_ALGORITHM = 25,
    AT_SECTIONS = 26,
    AT_KEY_ID = 28,
    AT_RESERVED = 104
};
enum { PACK_MAGIC = 0x4B504654, DEVELOPMENT = 1, CRITICAL = 1 };

#define TAG(a, b, c, d) ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

typedef struct section {
    uint32_t tag;
    const uint8_t *payload;
    uint32_t size;
} section;

enum { S_SCHEMA, S_PROGRAM, S_MAPS, S_PLAN, S_READOUT, S_CALIBRATION, S_DECISION, S_GOLDEN, S_COUNT };

static void name_sections(section s[S_COUNT])
{
    static const uint32_t tags[S_COUNT] = {
        TAG('S', 'C', 'H', 'M'), TAG('P', 'R', 'O', 'G'), TAG('M', 'A', 'P', 'S'), TAG('P', 'L', 'A', 'N'),
        TAG('R', 'E', 'A', 'D'), TAG('C', 'A', 'L', 'I'), TAG('D', 'E', 'C', 'I'), TAG('G', 'O', 'L', 'D'),
    };
    for (uint32_t i = 0; i < S_COUNT; i++) {
        s[i].tag = tags[i];
        s[i].payload = NULL;
        s[i].size = 0;
    }
}

/* Enough to walk the sections without leaving the bytes. */
static int frame_ok(const uint8_t *p, size_t size)
{
    if (((uintptr_t)p & (TFIN_ALIGN - 1u)) != 0) {
        return TFIN_E_ALIGN;
    }
    if (size < HEADER_SIZE) {
        return TFIN_E_TRUNCATED;
    }
    if (tfin_u32(p) != PACK_MAGIC) {
        return TFIN_E_MAGIC;
    }
    if (tfin_u16(p + AT_FORMAT) > TFIN_PACK_FORMAT) {
        return TFIN_E_FORMAT;
    }
    uint32_t total = tfin_u32(p + AT_TOTAL);
    if (tfin_u16(p + AT_FORMAT) == 0 || tfin_u16(p + AT_HEADER_SIZE) != HEADER_SIZE || total % TFIN_ALIGN != 0 ||
        total < HEADER_SIZE || total > MAX_PACK_BYTES) {
        return TFIN_E_HEADER;
    }
    return size < total ? TFIN_E_TRUNCATED : TFIN_OK;
}

static int walk_sections(const uint8_t *p, section s[S_COUNT])
{
    uint32_t total = tfin_u32(p + AT_TOTAL);
    uint32_t at = HEADER_SIZE;
    uint32_t count = tfin_u16(p + AT_SECTIONS);
    if (count == 0 || count > 32u) {
        return TFIN_E_HEADER;
    }
    name_sections(s);
    for (; count != 0; count--) {
        if (total - at < SECTION_HEADER) {
            return TFIN_E_SECTION;
        }
        const uint8_t *h = p + at;
        uint32_t length = tfin_u32(h + 4);
        uint32_t flags = tfin_u16(h + 8);
        at += SECTION_HEADER;
        if (length > total - at || flags > CRITICAL || tfin_u16(h + 10) != 1 || tfin_u32(h + 12) != 0) {
            return TFIN_E_SECTION;
        }
        uint32_t i = 0;
        while (i < S_COUNT && s[i].tag != tfin_u32(h)) {
            i++;
        }
        if (i < S_COUNT) {
            if (s[i].payload != NULL || flags != CRITICAL) {
                return TFIN_E_SECTION;
            }
            s[i].payload = p + at;
            s[i].size = length;
        } else if (flags == CRITICAL) {
            return TFIN_E_UNKNOWN_SECTION;
        }
        at += tfin_round_up(length, TFIN_ALIGN); /* total is a multiple of 16: still inside */
    }
    return at == total ? TFIN_OK : TFIN_E_SECTION;
}

static int schema_ok(const uint8_t *p, uint32_t size)
{
    uint32_t fields = size < SCHEMA_HEAD ? 0 : tfin_u16(p);
    uint32_t record = size < SCHEMA_HEAD ? 0 : tfin_u16(p + SCHEMA_RECORD_SIZE);
    uint32_t at = 8;
    if (fields == 0 || fields > MAX_FIELDS || size != SCHEMA_HEAD + SCHEMA_ENTRY * fields || tfin_u32(p + 4) != 0) {
        return 0;
    }
    for (uint32_t i = 0; i < fields; i++) {
        const uint8_t *e = tfin_field(p, i);
        uint32_t width = tfin_field_width(e);
        at = tfin_round_up(at, width);
        if (e[ENTRY_TYPE] > TYPE_ENUM || e[ENTRY_FLAGS] > (ENTRY_RAM_ONLY | ENTRY_HOST) || tfin_u16(e + ENTRY_AT) != at) {
            return 0;
        }
        at += width;
    }
    return record == tfin_round_up(at, 8);
}

/* ---- trust */

static int key_named(const uint8_t *p, const uint8_t *key)
{
    uint8_t digest[32];
    tfin_port_hash(digest, key, 32, NULL, NULL);
    return memcmp(digest, p + AT_KEY_ID, 4) == 0;
}

static int verified_by(const uint8_t *p, const uint8_t *key)
{
    return key_named(p, key) && tfin_port_verify(p + HEADER_SIGNED, key, p, HEADER_SIGNED);
}

static int signature_ok(const uint8_t *p, const tfin_trust *trust)
{
    int named = 0;
    if ((tfin_u32(p + AT_FLAGS) & DEVELOPMENT) != 0) {
#ifndef TFIN_RELEASE
        if (trust->allow_development_key) {
            return verified_by(p, tfin_development_public_key) ? TFIN_OK : TFIN_E_SIGNATURE;
        }
#endif
        return TFIN_E_KEY;
    }
    for (uint32_t i = 0; trust->keys != NULL && i < trust->key_count; i++) {
        const uint8_t *key = trust->keys + 32u * i;
        if (verified_by(p, key)) {
            return TFIN_OK;
        }
        named |= key_named(p, key);
    }
    return named ? TFIN_E_SIGNATURE : TFIN_E_KEY;
}

/* The two that take 32 bytes for a digest give them back before the signature's turn comes, which needs more stack than all the rest. */
#define NOINLINE __attribute__((noinline))

static NOINLINE int digest_ok(const uint8_t *p, const tfin_trust *trust)
{
    uint8_t digest[32];
    tfin_port_hash(digest, p + HEADER_SIZE, tfin_u32(p + AT_TOTAL) - HEADER_SIZE, trust->progress, trust->progress_context);
#ifdef TFIN_SABOTAGE_DIGEST /* a test proves that it would notice; so with the others of this name */
    return 1;
#else
    return memcmp(digest, p + HEADER_DIGEST, sizeof digest) == 0;
#endif
}

/* Digest, signature and trust of what `size` bytes say is a pack. */
static int integrity_ok(const uint8_t *p, size_t size, const tfin_trust *trust)
{
    int rc = frame_ok(p, size);
    if (rc != TFIN_OK) {
        return rc;
    }
    if (p[AT_SIGNATURE_ALGORITHM] != 1 || p[AT_HASH_ALGORITHM] != 1) {
        return TFIN_E_ALGORITHM;
    }
    for (uint32_t i = AT_RESERVED; i < HEADER_DIGEST; i++) {
        if (p[i] != 0) {
            return TFIN_E_HEADER;
        }
    }
    if (tfin_u32(p + AT_FLAGS) > DEVELOPMENT) {
        return TFIN_E_HEADER;
    }
    if (!digest_ok(p, trust)) {
        return TFIN_E_DIGEST;
    }
    rc = signature_ok(p, trust);
    if (rc != TFIN_OK) {
        return rc;
    }
    if (tfin_u32(p + AT_ENGINE) > TFIN_VERSION) {
        return TFIN_E_ENGINE_VERSION;
    }
    return tfin_u32(p + AT_COUNTER) < trust->minimum_security_counter ? TFIN_E_ROLLBACK : TFIN_OK;
}

/* ---- structure */

/* One vector: inputs, padded to 4, and the raw score. */
static uint32_t golden_size(const tfin_engine *e)
{
    return tfin_round_up(tfin_net_input_length(e->plan), 4) + 4u;
}

static int golden_ok(const tfin_engine *e, const section *golden)
{
    return golden->payload == NULL ||
           (golden->size >= 8u && tfin_u16(golden->payload + 2) == tfin_net_input_length(e->plan) &&
            tfin_u16(golden->payload) <= (golden->size - 8u) / golden_size(e));
}

static int find_parts(tfin_engine *e, const section s[S_COUNT])
{
    if (s[S_SCHEMA].payload == NULL || s[S_PROGRAM].payload == NULL) {
        return TFIN_E_SECTION;
    }
    if (!schema_ok(s[S_SCHEMA].payload, s[S_SCHEMA].size)) {
        return TFIN_E_SCHEMA;
    }
    int rc = tfin_program_check(s[S_SCHEMA].payload, s[S_PROGRAM].payload, s[S_PROGRAM].size);
    if (rc != TFIN_OK) {
        return rc;
    }
    e->schema = s[S_SCHEMA].payload;
    e->program = s[S_PROGRAM].payload;
    e->plan = s[S_PLAN].payload;
    e->maps = s[S_MAPS].payload;
    e->readout = s[S_READOUT].payload;
    e->calibration = s[S_CALIBRATION].payload;
    e->decision = s[S_DECISION].payload;
    if (e->plan == NULL) {
        return e->maps || e->readout || e->calibration || e->decision || s[S_GOLDEN].payload ? TFIN_E_SECTION : TFIN_OK;
    }
    if (!e->maps || !e->readout || !e->calibration || !e->decision) {
        return TFIN_E_SECTION;
    }
    rc = tfin_net_check(e->plan, s[S_PLAN].size, TFIN_KERNELS_ALL);
    if (rc != TFIN_OK) {
        return rc;
    }
    rc = tfin_model_check(e, s[S_MAPS].size, s[S_READOUT].size, s[S_CALIBRATION].size, s[S_DECISION].size);
    return rc != TFIN_OK || golden_ok(e, &s[S_GOLDEN]) ? rc : TFIN_E_SECTION;
}

static int run_golden(tfin_engine *e, const uint8_t *golden)
{
    if (golden == NULL) {
        return TFIN_OK;
    }
    uint32_t each = golden_size(e);
    const uint8_t *v = golden + 8;
    for (uint32_t count = tfin_u16(golden); count != 0; count--, v += each) {
        int32_t raw;
        (void)tfin_infer(e, (const int8_t *)v, tfin_net_input_length(e->plan), &raw);
        if (raw != tfin_i32(v + each - 4u)) {
            return TFIN_E_GOLDEN;
        }
    }
    return TFIN_OK;
}

/* Memory in bytes, or an error. */
static int32_t lay_out(tfin_engine *e)
{
    return tfin_lay_out(e->program, e->plan == NULL ? 0 : tfin_net_arena_size(e->plan), &e->layout);
}

/* Everything that is doubtful about a pack of integrity, once. Leaves an engine without memory, and gives how much it needs. */
static int32_t examine(tfin_engine *e, section s[S_COUNT], const uint8_t *pack)
{
    uint8_t digest[32];
    memset(e, 0, sizeof *e);
    int32_t rc = walk_sections(pack, s);
    rc = rc == TFIN_OK ? find_parts(e, s) : rc;
    rc = rc == TFIN_OK ? lay_out(e) : rc;
    if (rc >= 0) {
        e->pack = pack;
        tfin_port_hash(digest, pack, HEADER_SIGNED, NULL, NULL);
        memcpy(e->pack_id, digest, sizeof e->pack_id);
    }
    return rc;
}

/* Gives an examined engine its memory. */
static int start(tfin_engine *e, const uint8_t *golden, uint32_t needed, void *memory, size_t memory_size)
{
    if (memory_size < needed) {
        return TFIN_E_MEMORY;
    }
    e->state = memory;
    int rc = run_golden(e, golden);
    return rc == TFIN_OK ? tfin_reset(e) : rc;
}

int32_t tfin_memory_size(const void *pack, size_t pack_size)
{
    section s[S_COUNT];
    tfin_engine e;
    if (pack == NULL) {
        return TFIN_E_ARGUMENT;
    }
    memset(&e, 0, sizeof e);
    int rc = frame_ok(pack, pack_size);
    rc = rc == TFIN_OK ? walk_sections(pack, s) : rc;
    rc = rc == TFIN_OK ? find_parts(&e, s) : rc;
    return rc == TFIN_OK ? lay_out(&e) : rc;
}

static NOINLINE int open_trusted(tfin_engine *e, const void *pack, void *memory, size_t memory_size)
{
    section s[S_COUNT];
    int32_t needed = examine(e, s, pack);
    return needed < 0 ? needed : start(e, s[S_GOLDEN].payload, (uint32_t)needed, memory, memory_size);
}

int tfin_open(tfin_engine *e, const void *pack, size_t pack_size, void *memory, size_t memory_size, const tfin_trust *trust)
{
    if (e == NULL || pack == NULL || memory == NULL || trust == NULL) {
        return TFIN_E_ARGUMENT;
    }
    if (((uintptr_t)memory & (TFIN_ALIGN - 1u)) != 0) {
        return TFIN_E_ALIGN;
    }
    int rc = integrity_ok(pack, pack_size, trust);
    return rc == TFIN_OK ? open_trusted(e, pack, memory, memory_size) : rc;
}

/* ---- the same in two steps */

enum { SEAL = 0x4C414553 };

/* What a receipt holds, but for `seal` itself. */
static uint32_t seal_of(const tfin_verified *v)
{
    return SEAL ^ v->memory_bytes ^ (uint32_t)(uintptr_t)v->unbound.pack ^ (uint32_t)(uintptr_t)v->unbound.program;
}

static NOINLINE int verify_trusted(tfin_verified *v, const void *pack)
{
    section s[S_COUNT];
    int32_t needed = examine(&v->unbound, s, pack);
    if (needed < 0) {
        return needed;
    }
    v->golden = s[S_GOLDEN].payload;
    v->memory_bytes = (uint32_t)needed;
    memcpy(v->digest, v->unbound.pack + HEADER_DIGEST, sizeof v->digest);
    v->seal = seal_of(v);
    return TFIN_OK;
}

int tfin_verify(tfin_verified *v, const void *pack, size_t pack_size, const tfin_trust *trust)
{
    if (v == NULL || pack == NULL || trust == NULL) {
        return TFIN_E_ARGUMENT;
    }
    memset(v, 0, sizeof *v);
    int rc = integrity_ok(pack, pack_size, trust);
    return rc == TFIN_OK ? verify_trusted(v, pack) : rc;
}

/* The pack still is where it was verified: its header has the digest that was compared then. */
static int still_there(const tfin_verified *v)
{
    const uint8_t *p = v->unbound.pack + HEADER_DIGEST;
    uint32_t differing = 0;
    for (uint32_t i = 0; i < sizeof v->digest / 4u; i++) {
        differing |= v->digest[i] ^ tfin_u32(p + 4u * i);
    }
#ifdef TFIN_SABOTAGE_SEAL
    differing = 0;
#endif
    return differing == 0;
}

int tfin_bind(tfin_engine *e, const tfin_verified *v, void *memory, size_t memory_size)
{
    if (e == NULL || v == NULL || memory == NULL) {
        return TFIN_E_ARGUMENT;
    }
    if (((uintptr_t)memory & (TFIN_ALIGN - 1u)) != 0) {
        return TFIN_E_ALIGN;
    }
    if (v->unbound.pack == NULL || v->seal != seal_of(v)) {
        return TFIN_E_UNVERIFIED;
    }
    if (!still_there(v)) {
        return TFIN_E_DIGEST;
    }
    *e = v->unbound;
    return start(e, v->golden, v->memory_bytes, memory, memory_size);
}

const uint8_t *tfin_pack_id(const tfin_engine *e)
{
    return e->pack_id;
}
