/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a pack: integrity and trust, structure and contents, golden vectors. After
 * this file the pack is not checked again. */
#include "development_key.h"
#include "internal.h"
#include "network/net_plan.h"
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
    AT_SCHEMA = 40,
    AT_PROGRAM = 56,
    AT_MODEL = 88,
    AT_RESERVED = 104
};
enum { PACK_MAGIC = 0x4B504654, DEVELOPMENT = 1, CRITICAL = 1, EDDSA = 1, BLAKE2B = 1 };

typedef struct section {
    uint32_t tag;
    const uint8_t *payload;
    uint32_t size;
} section;

enum {
    S_SCHEMA,
    S_PROGRAM,
    S_MAPS,
    S_PLAN,
    S_READOUT,
    S_CALIBRATION,
    S_DECISION,
    S_GOLDEN,
    S_COUNT
};

static void name_sections(section s[S_COUNT])
{
    static const uint32_t tags[S_COUNT] = {
        SECTION_TAG('S', 'C', 'H', 'M'), SECTION_TAG('P', 'R', 'O', 'G'),
        SECTION_TAG('M', 'A', 'P', 'S'), SECTION_TAG('P', 'L', 'A', 'N'),
        SECTION_TAG('R', 'E', 'A', 'D'), SECTION_TAG('C', 'A', 'L', 'I'),
        SECTION_TAG('D', 'E', 'C', 'I'), SECTION_TAG('G', 'O', 'L', 'D'),
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
    if (tfin_u16(p + AT_FORMAT) == 0 || tfin_u16(p + AT_HEADER_SIZE) != HEADER_SIZE ||
        total % TFIN_ALIGN != 0 || total < HEADER_SIZE || total > MAX_PACK_BYTES) {
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
        if (length > total - at || flags > CRITICAL || tfin_u16(h + 10) != 1 ||
            tfin_u32(h + 12) != 0) {
            return TFIN_E_SECTION;
        }
        for (const uint8_t *before = p + HEADER_SIZE; before != h;
             before += SECTION_HEADER + tfin_round_up(tfin_u32(before + 4), TFIN_ALIGN)) {
            if (tfin_u32(before) == tfin_u32(h)) {
                return TFIN_E_SECTION;
            }
        }
        uint32_t i = 0;
        while (i < S_COUNT && s[i].tag != tfin_u32(h)) {
            i++;
        }
        if (i < S_COUNT) {
            if (flags != CRITICAL) {
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

const uint8_t *tfin_section(const uint8_t *p, uint32_t tag, uint32_t *size)
{
    const uint8_t *h = p + HEADER_SIZE;
    for (uint32_t count = tfin_u16(p + AT_SECTIONS); count != 0; count--) {
        *size = tfin_u32(h + 4);
        if (tfin_u32(h) == tag) {
            return h + SECTION_HEADER;
        }
        h += SECTION_HEADER + tfin_round_up(*size, TFIN_ALIGN);
    }
    *size = 0;
    return NULL;
}

static int schema_ok(const tfin_schema *schema, uint32_t size)
{
    uint32_t fields = size < sizeof *schema ? 0 : schema->field_count;
    uint32_t at = 8;
    if (fields == 0 || fields > TFIN_MAX_FIELDS ||
        size != sizeof *schema + sizeof(tfin_field) * fields || schema->reserved != 0) {
        return 0;
    }
    const tfin_field *f = tfin_schema_fields(schema);
    for (const tfin_field *end = f + fields; f != end; f++) {
        uint32_t width = tfin_field_bytes(f->type);
        at = tfin_round_up(at, width);
        if (f->type > TFIN_TYPE_ENUM || f->flags > (TFIN_FIELD_RAM_ONLY | TFIN_FIELD_HOST) ||
            f->offset != at) {
            return 0;
        }
        at += width;
    }
    return schema->record_bytes == tfin_round_up(at, 8);
}

/* ---- trust */

/* Functions that need 32 bytes for a digest return before the signature check runs, which needs the
 * deepest stack. */
enum { HASHED_AT_ONCE = 4096 };

static void hash_more(tfin_port_hash *hash, const uint8_t *data, uint32_t size,
                      const tfin_trust *trust)
{
    for (uint32_t at = 0; at < size; at += HASHED_AT_ONCE) {
        tfin_port_hash_update(hash, data + at,
                              size - at < HASHED_AT_ONCE ? size - at : HASHED_AT_ONCE);
        tfin_feed(trust->progress, trust->progress_context);
    }
}

/* What a comparison of digests gives when they are the same. A register in which a fault has left
 * something else rarely holds it, and often 0. */
#define SAME 0x55555555u

/* SAME when the hash of what has been hashed begins with these bytes; more for each that differs,
 * and for each that a fault left out. */
static TFIN_NOINLINE uint32_t compare_hash(tfin_port_hash *hash, const uint8_t *expected,
                                           uint32_t size)
{
    uint8_t digest[32];
    uint32_t found = SAME + size;
    tfin_port_hash_end(hash, digest);
    while (size-- != 0) {
        found += (((uint32_t)digest[size] ^ expected[size]) << 8) - 1u;
    }
    return found;
}

static TFIN_NOINLINE uint32_t compare(const uint8_t *data, uint32_t data_size,
                                      const uint8_t *expected, uint32_t size,
                                      const tfin_trust *trust)
{
    tfin_port_hash hash;
    tfin_port_hash_begin(&hash);
    hash_more(&hash, data, data_size, trust);
    return compare_hash(&hash, expected, size);
}

/* Which of the trusted keys the pack names, or null. */
static TFIN_NOINLINE const uint8_t *key_of(const uint8_t *p, const tfin_trust *trust)
{
    const uint8_t *key = trust->keys;
    uint32_t count = key == NULL ? 0 : trust->key_count;
    if ((tfin_u32(p + AT_FLAGS) & DEVELOPMENT) != 0) {
        count = 0;
#ifndef TFIN_RELEASE
        key = tfin_development_public_key;
        count = trust->allow_development_key != 0;
#endif
    }
    for (; count != 0; count--, key += 32) {
        if (compare(key, 32, p + AT_KEY_ID, 4, trust) == SAME) {
            return key;
        }
    }
    return NULL;
}

/* SAME when the pack's bytes have the digest of its header. */
static TFIN_NOINLINE uint32_t compare_body(const uint8_t *p, const tfin_trust *trust)
{
/* tests prove that they would notice this and the other TFIN_SABOTAGE_... */
#ifdef TFIN_SABOTAGE_DIGEST
    return SAME;
#endif
    return compare(p + HEADER_SIZE, tfin_u32(p + AT_TOTAL) - HEADER_SIZE, p + HEADER_DIGEST, 32,
                   trust);
}

static TFIN_NOINLINE uint32_t compare_state_layout(const uint8_t *p, const section *schema,
                                                   const section *program, const tfin_trust *trust)
{
    static const uint8_t label[5] = {'t', 'f', 's', 't', '1'};
    tfin_port_hash hash;
    tfin_port_hash_begin(&hash);
    tfin_port_hash_update(&hash, label, sizeof label);
    hash_more(&hash, schema->payload, schema->size, trust);
    hash_more(&hash, program->payload, program->size, trust);
    return compare_hash(&hash, p + HEADER_STATE_LAYOUT, 16);
}

/* The header's hashes are those of its sections. Each releases its 200 bytes of stack before the
 * next one begins. */
static int hashes_ok(const uint8_t *p, const section *schema, const section *program,
                     const tfin_trust *trust)
{
    return compare_state_layout(p, schema, program, trust) +
               compare(schema->payload, schema->size, p + AT_SCHEMA, 16, trust) +
               compare(program->payload, program->size, p + AT_PROGRAM, 16, trust) ==
           3u * SAME;
}

/* TFIN_OPEN is computed from what the checks gave: where a fault skips a check, its store or the
 * branch behind it, another number is left, which opens nothing. Each check works on the numbers of
 * those before it in *open. The lowest counter is compared once more in examine(). */
enum { VERIFIED_SAME = SAME ^ TFIN_PORT_VERIFIED, VERIFIED_OPEN = VERIFIED_SAME ^ TFIN_OPEN };

static uint32_t is_too_low(const uint8_t *p, const tfin_trust *trust)
{
    return trust->minimum_security_counter > tfin_u32(p + AT_COUNTER);
}

/* Key, signature, engine version and security counter of a header. *open is SAME before, and
 * TFIN_OPEN after a good one. */
static int trust_header(const uint8_t *p, const tfin_trust *trust, volatile uint32_t *open)
{
    const uint8_t *key = key_of(p, trust);
    if (key == NULL) {
        return TFIN_E_KEY;
    }
    *open ^= tfin_port_verify(p + HEADER_SIGNED, key, p, HEADER_SIGNED);
    if (*open != VERIFIED_SAME) {
        return TFIN_E_SIGNATURE;
    }
    if (tfin_u32(p + AT_ENGINE) > TFIN_VERSION) {
        return TFIN_E_ENGINE_VERSION;
    }
    *open ^= VERIFIED_OPEN;
    return is_too_low(p, trust) ? TFIN_E_ROLLBACK : TFIN_OK;
}

/* Digest, signature and trust of a pack in `size` bytes. For a good one *open becomes TFIN_OPEN. */
static int integrity_ok(const uint8_t *p, size_t size, const tfin_trust *trust,
                        volatile uint32_t *open)
{
    *open = 0;
    if (trust->record == NULL) {
        return TFIN_E_ARGUMENT;
    }
    int rc = frame_ok(p, size);
    if (rc != TFIN_OK) {
        return rc;
    }
    if (tfin_u16(p + AT_SIGNATURE_ALGORITHM) != (EDDSA | BLAKE2B << 8)) {
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
    *open = compare_body(p, trust);
    return *open != SAME ? TFIN_E_DIGEST : trust_header(p, trust, open);
}

int tfin_verify_header(const void *header, const tfin_trust *trust)
{
    volatile uint32_t open = SAME;
    if (header == NULL || trust == NULL) {
        return TFIN_E_ARGUMENT;
    }
    int rc = frame_ok(header, MAX_PACK_BYTES);
    return rc == TFIN_OK ? trust_header(header, trust, &open) : rc;
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
           (golden->size >= 8u && tfin_u16(golden->payload) <= TFIN_MAX_GOLDEN &&
            tfin_u16(golden->payload + 2) == tfin_net_input_length(e->plan) &&
            tfin_u16(golden->payload) <= (golden->size - 8u) / golden_size(e));
}

/* Limits the work of a run of the network, by a measure that is the same on every core. */
static int work_ok(const uint8_t *plan)
{
    const uint8_t *at = plan + TFIN_PLAN_HEADER_BYTES;
    uint32_t left = TFIN_MAX_WORK;
    for (uint32_t nodes = tfin_plan_u32(plan, TFIN_PLAN_NODES); nodes != 0; nodes--) {
        const tfin_node *node = (const tfin_node *)(const void *)at;
        uint32_t work = (uint32_t)node->inputs * node->outputs;
        if (left < 64u || work > left - 64u) {
            return 0;
        }
        left -= work + 64u;
        at += node->bytes;
    }
    return 1;
}

/* The fields that both the schema and the record know are the same: an entry begins with
 * type, flags and offset. */
static int record_fits(const tfin_schema *schema, const uint32_t *record)
{
    uint32_t n = record[0] < schema->field_count ? record[0] : schema->field_count;
    for (const tfin_field *f = tfin_schema_fields(schema); n != 0; n--, f++) {
        if (tfin_u32((const uint8_t *)f) != *++record) {
            return 0;
        }
    }
    return 1;
}

static int find_parts(tfin_engine *e, const section s[S_COUNT], const uint32_t *record)
{
    if (s[S_SCHEMA].payload == NULL || s[S_PROGRAM].payload == NULL) {
        return TFIN_E_SECTION;
    }
    const tfin_schema *schema = (const tfin_schema *)(const void *)s[S_SCHEMA].payload;
    if (!schema_ok(schema, s[S_SCHEMA].size)) {
        return TFIN_E_SCHEMA;
    }
    if (!record_fits(schema, record)) {
        return TFIN_E_OTHER_RECORD;
    }
    int rc = tfin_program_check(schema, s[S_PROGRAM].payload, s[S_PROGRAM].size);
    if (rc != TFIN_OK) {
        return rc;
    }
    e->schema = schema;
    e->program = s[S_PROGRAM].payload;
    e->plan = s[S_PLAN].payload;
    e->maps = s[S_MAPS].payload;
    e->readout = s[S_READOUT].payload;
    e->calibration = s[S_CALIBRATION].payload;
    e->decision = s[S_DECISION].payload;
    e->thresholds = e->decision;
    if (e->plan == NULL) {
        return e->maps || e->readout || e->calibration || e->decision || s[S_GOLDEN].payload
                   ? TFIN_E_SECTION
                   : TFIN_OK;
    }
    if (!e->maps || !e->readout || !e->calibration || !e->decision) {
        return TFIN_E_SECTION;
    }
    rc = tfin_net_check(e->plan, s[S_PLAN].size, TFIN_KERNELS_ALL);
    if (rc != TFIN_OK || !work_ok(e->plan)) {
        return rc != TFIN_OK ? rc : TFIN_E_PLAN;
    }
    rc = tfin_model_check(e, s[S_MAPS].size, s[S_READOUT].size, s[S_CALIBRATION].size,
                          s[S_DECISION].size);
    return rc != TFIN_OK || golden_ok(e, &s[S_GOLDEN]) ? rc : TFIN_E_SECTION;
}

int tfin_run_golden(tfin_engine *e, const uint8_t *golden)
{
    if (golden == NULL) {
        return TFIN_OK;
    }
    uint32_t each = golden_size(e);
    const uint8_t *v = golden + 8;
    for (uint32_t count = tfin_u16(golden); count != 0; count--, v += each) {
        int32_t raw;
        tfin_feed(e->progress, e->progress_context);
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

static void set_id(tfin_engine *e)
{
    uint8_t digest[32];
    tfin_port_hash hash;
    tfin_port_hash_begin(&hash);
    tfin_port_hash_update(&hash, e->pack, HEADER_SIGNED);
    tfin_port_hash_end(&hash, digest);
    memcpy(e->pack_id, digest, sizeof e->pack_id);
}

/* Checks the contents of a pack, once. Leaves an engine that lacks only its memory; an error leaves
 * it closed. */
static int examine(tfin_engine *e, section s[S_COUNT], const uint8_t *pack, const tfin_trust *trust,
                   uint32_t open)
{
    int32_t rc = walk_sections(pack, s);
    rc = rc == TFIN_OK ? find_parts(e, s, trust->record) : rc;
    rc = rc == TFIN_OK ? lay_out(e) : rc;
    if (rc < 0) {
        return rc;
    }
    if (!hashes_ok(pack, &s[S_SCHEMA], &s[S_PROGRAM], trust)) {
        return TFIN_E_HEADER;
    }
    e->memory_bytes = (uint32_t)rc;
    e->pack = pack;
    e->progress = trust->progress;
    e->progress_context = trust->progress_context;
    set_id(e);
    e->open = open ^ is_too_low(pack, trust);
#ifdef TFIN_SABOTAGE_GLITCH
    e->open = TFIN_OPEN;
#endif
    return TFIN_OK;
}

/* Gives an examined engine its memory. */
static int give_memory(tfin_engine *e, const uint8_t *golden, void *memory, size_t memory_size)
{
    int rc = TFIN_E_MEMORY;
    if (memory_size >= e->memory_bytes) {
        e->state = memory;
        e->leap_s[1] = tfin_leap_s(e, PROG_BOOT_LEAP, 14);
        tfin_boot(e);
        rc = tfin_reset(e);
        rc = rc == TFIN_OK ? tfin_run_golden(e, golden) : rc;
    }
    if (rc != TFIN_OK) {
        e->open = 0;
    }
    return rc;
}

int32_t tfin_memory_size(const void *pack, size_t pack_size)
{
    static const uint32_t any_record;
    section s[S_COUNT];
    tfin_engine e;
    if (pack == NULL) {
        return TFIN_E_ARGUMENT;
    }
    int rc = frame_ok(pack, pack_size);
    rc = rc == TFIN_OK ? walk_sections(pack, s) : rc;
    rc = rc == TFIN_OK ? find_parts(&e, s, &any_record) : rc;
    return rc == TFIN_OK ? lay_out(&e) : rc;
}

static TFIN_NOINLINE int open_trusted(tfin_engine *e, const void *pack, void *memory,
                                      size_t memory_size, const tfin_trust *trust, uint32_t open)
{
    section s[S_COUNT];
    int rc = examine(e, s, pack, trust, open);
    return rc == TFIN_OK ? give_memory(e, s[S_GOLDEN].payload, memory, memory_size) : rc;
}

int tfin_open(tfin_engine *e, const void *pack, size_t pack_size, void *memory, size_t memory_size,
              const tfin_trust *trust)
{
    volatile uint32_t open;
    if (e == NULL) {
        return TFIN_E_ARGUMENT;
    }
    memset(e, 0, sizeof *e);
    if (pack == NULL || memory == NULL || trust == NULL) {
        return TFIN_E_ARGUMENT;
    }
    if (((uintptr_t)memory & (TFIN_ALIGN - 1u)) != 0) {
        return TFIN_E_ALIGN;
    }
    int rc = integrity_ok(pack, pack_size, trust, &open);
    return rc == TFIN_OK ? open_trusted(e, pack, memory, memory_size, trust, open) : rc;
}

/* ---- the same in two steps */

/* A sum over every byte of a receipt but for `seal` itself, which is the first word. */
static uint32_t seal_of(const tfin_verified *v)
{
    const uint8_t *p = (const uint8_t *)v;
    uint32_t sum = 0x4C414553;
    uint32_t at = sizeof v->seal;
    if ((sizeof *v - sizeof v->seal) % 8u != 0) {
        sum ^= tfin_u32(p + at);
        at += 4;
    }
    for (; at < sizeof *v; at += 8) { /* each step is reversible: no change of one word is lost */
        sum = ((sum ^ tfin_u32(p + at)) * 0x9E3779B1u) ^ tfin_u32(p + at + 4);
        sum ^= sum >> 15;
    }
    return sum;
}

static TFIN_NOINLINE int verify_trusted(tfin_verified *v, const void *pack, const tfin_trust *trust,
                                        uint32_t open)
{
    section s[S_COUNT];
    int rc = examine(&v->unbound, s, pack, trust, open);
    if (rc == TFIN_OK) {
        v->golden = s[S_GOLDEN].payload;
        v->memory_bytes = v->unbound.memory_bytes;
        memcpy(v->digest, v->unbound.pack + HEADER_DIGEST, sizeof v->digest);
        v->seal = seal_of(v);
    }
    return rc;
}

int tfin_verify(tfin_verified *v, const void *pack, size_t pack_size, const tfin_trust *trust)
{
    volatile uint32_t open;
    if (v == NULL) {
        return TFIN_E_ARGUMENT;
    }
    memset(v, 0, sizeof *v);
    if (pack == NULL || trust == NULL) {
        return TFIN_E_ARGUMENT;
    }
    int rc = integrity_ok(pack, pack_size, trust, &open);
    return rc == TFIN_OK ? verify_trusted(v, pack, trust, open) : rc;
}

/* 0 when the header still has the digest that was compared when the pack was verified. */
static uint32_t replaced(const tfin_verified *v)
{
    const uint8_t *p = v->unbound.pack + HEADER_DIGEST;
    uint32_t differing = 0;
    for (uint32_t i = 0; i < sizeof v->digest / 4u; i++) {
        differing |= v->digest[i] ^ tfin_u32(p + 4u * i);
    }
#ifdef TFIN_SABOTAGE_SEAL
    differing = 0;
#endif
    return differing;
}

int tfin_receipt(const tfin_verified *v)
{
    return v->unbound.open != TFIN_OPEN || v->seal != seal_of(v) ? TFIN_E_UNVERIFIED
           : replaced(v) != 0                                    ? TFIN_E_DIGEST
                                                                 : TFIN_OK;
}

int tfin_bind(tfin_engine *e, const tfin_verified *v, void *memory, size_t memory_size)
{
    if (e == NULL) {
        return TFIN_E_ARGUMENT;
    }
    e->open = 0;
    if (v == NULL || memory == NULL) {
        return TFIN_E_ARGUMENT;
    }
    if (((uintptr_t)memory & (TFIN_ALIGN - 1u)) != 0) {
        return TFIN_E_ALIGN;
    }
    int rc = tfin_receipt(v);
    if (rc != TFIN_OK) {
        return rc;
    }
    volatile uint32_t differing = replaced(v);
    *e = v->unbound;
    e->open ^= differing;
    return give_memory(e, v->golden, memory, memory_size);
}

const uint8_t *tfin_model_id(const void *pack)
{
    return pack != NULL ? (const uint8_t *)pack + AT_MODEL : NULL;
}

uint32_t tfin_security_counter(const tfin_engine *e)
{
    return tfin_usable(e) == TFIN_OK ? tfin_u32(e->pack + AT_COUNTER) : 0;
}

/* ---- the same again, in pieces */

typedef char
    tfin_recheck_holds_a_hash[sizeof((tfin_recheck *)0)->hash == sizeof(tfin_port_hash) ? 1 : -1];

/* SAME when the header is that of the open pack, by its hash; keeps size and digest from it. */
static uint32_t begin_recheck(const tfin_engine *e, tfin_recheck *r)
{
    tfin_port_hash *hash = (tfin_port_hash *)(void *)r->hash;
    tfin_port_hash_begin(hash);
    tfin_port_hash_update(hash, e->pack, HEADER_SIGNED);
    uint32_t found = compare_hash(hash, e->pack_id, sizeof e->pack_id);
    memcpy(r->digest, e->pack + HEADER_DIGEST, sizeof r->digest);
    memcpy(r->pack_id, e->pack_id, sizeof r->pack_id);
    r->read = 0;
    r->size = tfin_u32(e->pack + AT_TOTAL) - HEADER_SIZE;
    tfin_port_hash_begin(hash);
    return found;
}

int32_t tfin_recheck_pack(tfin_engine *e, tfin_recheck *r, uint32_t bytes)
{
    int rc = tfin_usable(e);
    if (rc != TFIN_OK || r == NULL || bytes == 0) {
        return rc != TFIN_OK ? rc : TFIN_E_ARGUMENT;
    }
    const tfin_trust watchdog = {.progress = e->progress, .progress_context = e->progress_context};
    tfin_port_hash *hash = (tfin_port_hash *)(void *)r->hash;
    uint32_t found = r->read == 0 || memcmp(r->pack_id, e->pack_id, sizeof r->pack_id) != 0
                         ? begin_recheck(e, r)
                         : SAME;
    if (found == SAME) {
        uint32_t left = r->size - r->read;
        uint32_t piece = bytes < left ? bytes : left;
        hash_more(hash, e->pack + HEADER_SIZE + r->read, piece, &watchdog);
        r->read += piece;
        if (piece != left) {
            return (int32_t)(left - piece);
        }
        found = compare_hash(hash, (const uint8_t *)r->digest, sizeof r->digest);
        r->read = 0;
    }
    if (found != SAME) {
        e->open = 0;
        return TFIN_E_DIGEST;
    }
    return TFIN_OK;
}
