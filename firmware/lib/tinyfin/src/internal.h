/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine's files share: loads, section layouts, limits. Formats: docs/formats. */
#ifndef TINYFIN_INTERNAL_H
#define TINYFIN_INTERNAL_H

#include <string.h>

#include "tinyfin.h"

#if defined(__BYTE_ORDER__) && (__BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__)
#error "tinyfin packs are little-endian and run in place: this core cannot read them"
#endif

typedef char tfin_an_int_has_32_bits[sizeof(int) == 4 ? 1 : -1];
typedef char tfin_shifts_keep_the_sign[-1 >> 1 == -1 ? 1 : -1];

/* Loads and stores at naturally aligned addresses; memcpy keeps them free of aliasing
 * rules and costs nothing. */
static inline uint16_t tfin_u16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, __builtin_assume_aligned(p, 2), sizeof v);
    return v;
}

static inline int16_t tfin_i16(const uint8_t *p)
{
    return (int16_t)tfin_u16(p);
}

static inline uint32_t tfin_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, __builtin_assume_aligned(p, 4), sizeof v);
    return v;
}

static inline int32_t tfin_i32(const uint8_t *p)
{
    return (int32_t)tfin_u32(p);
}

static inline uint64_t tfin_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, __builtin_assume_aligned(p, 8), sizeof v);
    return v;
}

static inline int64_t tfin_i64(const uint8_t *p)
{
    return (int64_t)tfin_u64(p);
}

static inline void tfin_put16(uint8_t *p, uint16_t v)
{
    memcpy(__builtin_assume_aligned(p, 2), &v, sizeof v);
}

static inline void tfin_put32(uint8_t *p, uint32_t v)
{
    memcpy(__builtin_assume_aligned(p, 4), &v, sizeof v);
}

static inline void tfin_put64(uint8_t *p, uint64_t v)
{
    memcpy(__builtin_assume_aligned(p, 8), &v, sizeof v);
}

/* 64 bits in 32: of ids, tokens and values. */
static inline uint32_t tfin_folded(uint64_t v)
{
    return (uint32_t)(v ^ (v >> 32));
}

static inline uint32_t tfin_round_up(uint32_t value, uint32_t multiple)
{
    return (value + multiple - 1u) & ~(multiple - 1u);
}

static inline int64_t tfin_clamp64(int64_t v, int64_t low, int64_t high)
{
    return v < low ? low : (v > high ? high : v);
}

static inline int tfin_fits_32(int64_t v)
{
    return v == (int32_t)v;
}

/* ---- pack */

enum {
    HEADER_SIZE = 224,
    HEADER_SIGNED = 160,
    HEADER_DIGEST = 128,
    HEADER_STATE_LAYOUT = 72, /* 16 bytes */
    SECTION_HEADER = 16,
    MAX_PACK_BYTES = 1 << 26,
    MAX_MEMORY_BYTES = 1 << 26
};

#define SECTION_TAG(a, b, c, d) \
    ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

/* pack.c: the payload of a section of a pack that was verified, and its size; null and 0 without
 * it. */
const uint8_t *tfin_section(const uint8_t *pack, uint32_t tag, uint32_t *size);

/* offsets in the DECI payload; of each feature u16 reason, i8 reference, u8 reason
 * below the reference; then thresholds, u32 each, of which an engine reads those that it knows */
enum {
    DECISION_ONLINE = 0,
    DECISION_DECLINE = 4,
    DECISION_FLAGS = 8,
    DECISION_CONTROL = 10,
    DECISION_COLD_EVENTS = 12,
    DECISION_COLD_S = 16,
    DECISION_COUNT = 20,
    DECISION_MORE = 22, /* how many thresholds follow the entries: that of VERIFY */
    DECISION_HEAD = 24,
    DECISION_ENTRY = 4
};
enum { NEVER_DECLINE = 1, NEVER_ONLINE = 2, SHADOW = 4, WANTS_HOST = 8 };
enum { BELOW_AS_ABOVE = 0, NONE_BELOW = 255 };

/* offsets in the PROG payload */
enum {
    PROG_FORMAT = 0,
    PROG_REGISTERS = 2,
    PROG_SCORE_OPS = 4,
    PROG_OUTCOME_OPS = 6,
    PROG_KEPT = 8,
    PROG_FEATURES = 10,
    PROG_PENDING = 12,
    PROG_PENDING_SIZE = 14,
    PROG_TERMINAL_SIZE = 16,
    PROG_CARD_SLOT = 20,
    PROG_CARD_SETS = 22,
    PROG_CARD_WAYS = 24,
    PROG_TOKEN_FIELD = 25,
    PROG_TERMINAL_LABELS = 26,
    PROG_CARD_LABELS = 28,
    PROG_SCORE_AT = 32,
    PROG_OUTCOME_AT = 36,
    PROG_KEPT_AT = 40,
    PROG_FEATURES_AT = 44,
    PROG_POOL_AT = 48,
    PROG_POOL_SIZE = 52,
    PROG_LEAP = 56,
    PROG_BOOT_LEAP = 60,
    PROG_HEADER = 64
};

enum { NO_REGISTER = 255, NO_FIELD = 255, MAX_REGISTERS = 200, MAX_FEATURES = 128, MAX_OPS = 1024 };

enum { OP_SIZE = 24 };

enum { KEY_NONE = 0, KEY_TERMINAL = 1, KEY_CARD = 2 };
enum { FLAG_SELF = 1, FLAG_INVERT = 2, FLAG_RAM_ONLY = 4 };

enum {
    FIELD = 1,
    PRESENT,
    CONST,
    TIME,
    LOG2,
    BUCKET,
    LOOKUP,
    COMPARE,
    AND,
    OR,
    NOT,
    ADD,
    SUB,
    MIN,
    MAX,
    ABS,
    DIV,
    RATIO,
    DIVISIBLE,
    POPCOUNT,
    SELECT,
    OUTCOME,
    MUL,
    IN,
    LAST_PURE = IN,
    WINDOW = 40,
    LAST_N,
    RUN,
    SINCE,
    MEAN,
    DEVIATION,
    SHARE,
    RARITY,
    REPEAT,
    MODE,
    PREVIOUS,
    DISTINCT,
    KNOWN,
    SEEN,
    COMPROMISED,
    LAST_STATEFUL = COMPROMISED
};

/* An operator, read where it lies in the pack. */
typedef struct __attribute__((may_alias)) op {
    uint8_t code, key, out, a, b, c, when, flags;
    uint32_t state;
    int32_t p0, p1;
    uint16_t p2, p3;
} op;

/* The operators whose offset is at `at_field` of the program. */
static inline const op *tfin_ops(const uint8_t *program, uint32_t at_field)
{
    return (const op *)(const void *)__builtin_assume_aligned(
        program + tfin_u32(program + at_field), 8);
}

/* ---- state body */

enum {
    HEAD_LAST_T = 0,
    HEAD_FIRST_T = 4,
    HEAD_SCORED = 8,
    HEAD_COMMITTED = 12,
    HEAD_CLAMPS = 16,
    HEAD_SATURATIONS = 20,
    HEAD_PENDING_OVERFLOWS = 24,
    HEAD_UNKNOWN_OUTCOMES = 28,
    HEAD_NOTICES = 32,
    HEAD_NOTICE_DUPLICATES = 36,
    HEAD_LABEL_OVERFLOWS = 40,
    HEAD_EVICTIONS = 44,
    HEAD_CARD_TICK = 48,
    HEAD_PENDING_SEQUENCE = 52,
    HEAD_SIZE = 64
};

enum {
    PENDING_ID = 0,
    PENDING_SEQUENCE = 8,
    PENDING_T = 12,
    PENDING_TOKEN = 16,
    PENDING_KEPT = 24
};
enum { STATE_HEADER = 64 }; /* of an image; the state lies behind it as in memory */
enum { SLOT_TOKEN = 0, SLOT_USED = 8, SLOT_STATE = 16 };
enum { MAX_CARD_SLOT = 272 };
enum { LABELS_ENTRIES = 8, LABEL_SIZE = 8 };

#define REGISTER_MAX ((int64_t)0x3FFFFFFFFFFFFFFF)

typedef struct tfin_places layout;

/* `open` of an engine that may be used. Far from 0 and -1: no single fault turns one into it. */
#define TFIN_OPEN 0x3C3C3C3Cu

#define TFIN_NOINLINE __attribute__((noinline))

/* handle.c */
/* TFIN_OK, or what is wrong with the engine that was passed. */
int tfin_usable(const tfin_engine *e);

/* Calls a progress hook, if there is one. */
void tfin_feed(tfin_progress *progress, void *of);

/* Seconds that the clock may step ahead: the program's own at `at`, or where it says 0 the usual.
 */
uint32_t tfin_leap_s(const tfin_engine *e, uint32_t at, uint32_t usual_days);

/* What opening and importing have in common: the next time may be far ahead. */
void tfin_boot(tfin_engine *e);

/* What an operator reads. */
typedef struct context {
    int64_t *r;
    const uint8_t *pool;
    const tfin_schema *schema;
    const uint8_t *record; /* null in the outcome phase */
    uint32_t present;      /* mask, limited to fields that the record and the schema hold */
    uint32_t t;
    uint32_t t_local;
    uint32_t card_known;
    int32_t outcome[3]; /* result, response, action taken */
    uint32_t outcome_s;
    uint32_t id;              /* folded; in the outcome phase */
    const uint8_t *state[3];  /* operator state by key, for reading; of an unknown card: zeros */
    const uint8_t *labels[3]; /* label ring by key */
} context;

/* program.c */
int tfin_program_check(const tfin_schema *schema, const uint8_t *program, uint32_t size);
uint32_t tfin_operator_state_size(const op *o);
/* Memory in bytes, or an error. */
int32_t tfin_lay_out(const uint8_t *program, uint32_t arena, layout *out);

/* operators.c runs them; the families have files of their own. `a` is the input register, 1 for an
 * operator without one. */
void tfin_run(const op *o, uint32_t count, const context *x);
/* Commits what has state, `state` by key (null: no such state). Gives the number
 * of saturated values. */
uint32_t tfin_commit(const op *o, uint32_t count, const context *x, uint8_t *const state[3]);

/* Floor division by a positive divisor. C truncates toward zero. */
int64_t tfin_floor_div(int64_t a, int64_t positive);
int64_t tfin_log2_q8(int64_t x);

int64_t tfin_window_read(const op *o, const uint8_t *s, uint32_t epoch, int64_t self);
uint32_t tfin_window_commit(const op *o, uint8_t *s, uint32_t epoch, int64_t a);
int64_t tfin_mean_read(const op *o, const uint8_t *s);
void tfin_mean_commit(const op *o, uint8_t *s, int64_t a);
int64_t tfin_deviation_read(const op *o, const uint8_t *s, int64_t a);
void tfin_deviation_commit(const op *o, uint8_t *s, int64_t a);
int32_t tfin_share_read(const op *o, const uint8_t *s, int64_t a);
void tfin_share_commit(const op *o, uint8_t *s, int64_t a);
uint32_t tfin_rarity_read(const op *o, const uint8_t *s, int64_t a);
void tfin_rarity_commit(const op *o, uint8_t *s, int64_t a);
/* Takes a value that an operator remembers out of its state. */
void tfin_erase_value(const op *o, uint8_t *s, uint64_t value);
uint32_t tfin_repeat_read(const op *o, const uint8_t *s, int64_t a, uint32_t self);
uint32_t tfin_mode_read(const op *o, const uint8_t *s, int64_t a, uint32_t self);
void tfin_repeat_commit(const op *o, uint8_t *s, int64_t a);
uint32_t tfin_distinct_read(const op *o, const uint8_t *s, int64_t a, uint32_t t, uint32_t self);
void tfin_distinct_commit(const op *o, uint8_t *s, int64_t a, uint32_t t);
int32_t tfin_known_read(const op *o, const uint8_t *labels, uint32_t t);

uint32_t tfin_compromised_read(const op *o, const uint8_t *s, const uint8_t *table, uint32_t t);
void tfin_compromised_commit(const op *o, uint8_t *s, const uint8_t *table, int64_t a, uint32_t id);
void tfin_compromised_notice(const op *o, uint8_t *s, const uint8_t *table, uint32_t t,
                             uint32_t tag, int change);

/* Inserts a label. Returns what changed; *dropped is set when the oldest had to go. */
enum { LABEL_KNOWN = 0, LABEL_NEW, LABEL_REPLACED, LABEL_TOO_OLD };
int tfin_labels_insert(uint8_t *labels, uint32_t capacity, uint32_t t, uint32_t tag, int *dropped);

/* model.c */
int tfin_model_check(const tfin_engine *e, uint32_t maps_size, uint32_t readout_size,
                     uint32_t calibration_size, uint32_t decision_size);
uint8_t *tfin_arena(const tfin_engine *e);
void tfin_map_inputs(const tfin_engine *e, const int16_t *features, int8_t *inputs);
int32_t tfin_raw_score(const tfin_engine *e);
uint32_t tfin_calibrate(const tfin_engine *e, int32_t raw);
/* The action that the thresholds give; `thresholds` begins as DECI does. */
uint8_t tfin_advise(const tfin_engine *e, uint32_t score_q32);
void tfin_decide(tfin_engine *e, tfin_verdict *v);

/* Input maps, network, read-out and calibration: from the features that are in memory to `raw` and
 * `score_q32`. */
void tfin_judge(const tfin_engine *e, tfin_verdict *v);

/* pack.c */
/* TFIN_OK for what tfin_verify filled, of a pack that is still there. */
int tfin_receipt(const tfin_verified *v);
/* `golden` may be null. TFIN_OK or TFIN_E_GOLDEN. */
int tfin_run_golden(tfin_engine *e, const uint8_t *golden);

/* state.c */
void tfin_count(uint8_t *head, uint32_t counter, uint32_t by);

#endif
