/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A terminal whose power is cut at any flash operation, over the slots and the journal of
 * firmware/src as they are linked into an image. The flash is simulated; so is the engine, for
 * which a pack is good when its bytes are.
 *
 *     powercut walk STEPS [SEED]   random walks over many shapes of flash
 *     powercut all [LIMIT]         every reachable state of a small flash, until none is new
 *     powercut plain [LIMIT]       the same without changes of the sheet
 *     powercut commands STEPS [SEED]  random walks with signed commands, new and old, among them
 *     powercut headers TIMES       genuine headers of one day, over and over
 *     powercut damage              flash that is worn out, and packs that are damaged in it
 *
 * What a cut leaves of the interrupted operation: nothing, a part, noise, all of it, or cells that
 * read now as one thing and now as another, at every reading anew, until they are erased.
 *
 * Checked throughout: docs/field.md, "What is certain". Ends with 0, or 1 and what was violated.
 */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "slots.h"
#include "tinyfin_port.h"

enum { MAX_FLASH = 8 * 128 * 1024, MAX_PACK = 4096, PACKS = 3, HEADER = TFIN_PACK_HEADER_BYTES };
enum { MAX_UNITS = MAX_FLASH / 2, RECORD = 32, NOISE = 0xA5 };
enum {
    RECORDS_AT = TFIN_SHEET_BYTES + TFIN_SHEET_PIECE
}; /* of a journal sector, behind the seal */

/* ------------------------------------------------------------------------------------- choices */

/* A walk takes them at random. The exhaustive search takes the first ones from `script`, then 0;
 * counting the script up leads through all of them. */
enum { MAX_CHOICES = 4096 };
static int exhaustive;
static uint64_t random_state = 1;
static struct {
    uint8_t taken, of;
} script[MAX_CHOICES];
static uint32_t scripted, choices;

static uint32_t random_number(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 16);
}

static uint32_t choose(uint32_t of)
{
    if (!exhaustive) {
        return random_number() % of;
    }
    if (choices == MAX_CHOICES || of > 255u) {
        fprintf(stderr, "powercut: too many choices\n");
        exit(2);
    }
    if (choices == scripted) {
        script[scripted].taken = 0;
        script[scripted++].of = (uint8_t)of;
    }
    return script[choices++].taken;
}

/* The next script; 0 when there is no other. */
static int next_script(void)
{
    scripted = choices;
    while (scripted > 0 && script[scripted - 1].taken + 1 == script[scripted - 1].of) {
        scripted--;
    }
    if (scripted == 0) {
        return 0;
    }
    script[scripted - 1].taken++;
    return 1;
}

/* --------------------------------------------------------------------------------------- flash */

static tfin_flash_map map;
/* what a unit reads as; both are the same but for uncertain units */
static uint8_t flash[2][MAX_FLASH];
static uint8_t uncertain[MAX_UNITS];
static uint32_t flash_bytes;
static uint64_t operations, cuts, erasures;
static uint32_t cut_in; /* operations until a cut in a walk; 0: none */
static jmp_buf power;

static tfin_slots slots;
static enum tfin_slots_cause cause; /* why the boot before this one ended */
static int powered;                 /* tfin_slots_open has come back */
static int appended;         /* this boot has appended what it read: only now may it act on it */
static volatile int reading; /* in tfin_journal_open */

__attribute__((noreturn)) static void violated(const char *rule)
{
    printf("violated: %s\n", rule);
    printf("  after %llu operations, phase %u, active %u, other %u, running %u\n",
           (unsigned long long)operations, tfin_slots_phase(&slots), tfin_slots_active(&slots),
           tfin_slots_other(&slots), slots.running);
    exit(1);
}

const tfin_flash_map *tfin_port_flash_map(void)
{
    return &map;
}

const void *tfin_port_flash_at(uint32_t address)
{
    return flash[0] + address;
}

static void noise(uint8_t *to, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        to[i] = exhaustive ? NOISE : (uint8_t)random_number();
    }
}

int tfin_port_flash_read(uint32_t address, void *out, uint32_t size)
{
    uint8_t *to = out;
    for (uint32_t at = address; at < address + size;) {
        uint32_t unit = at / map.program_bytes;
        uint32_t end = (unit + 1u) * map.program_bytes;
        if (uncertain[unit] && !exhaustive && choose(4) == 0) {
            noise(out, size); /* an error that its code cannot correct */
            return 0;
        }
        end = end < address + size ? end : address + size;
        memcpy(to, flash[uncertain[unit] ? choose(2) : 0] + at, end - at);
        to += end - at;
        at = end;
    }
    return 1;
}

static int erased(const uint8_t *bytes, uint32_t size)
{
    while (size-- != 0) {
        if (bytes[size] != map.erased) {
            return 0;
        }
    }
    return 1;
}

static int in(uint32_t address, const tfin_flash_area *area)
{
    return address >= area->address && address - area->address < area->size;
}

static void before_operation(uint32_t address);
static void after_record(const uint8_t *record);
static int may_cut(void);

static int cut_here(void)
{
    operations++;
    if (!may_cut()) {
        return 0;
    }
    if (exhaustive) {
        return choose(2) != 0;
    }
    return cut_in != 0 && --cut_in == 0;
}

__attribute__((noreturn)) static void cut(void)
{
    cuts++;
    longjmp(power, 1);
}

enum { NOTHING, PART, OTHER, ALL, NOW_ALL, NOW_NOTHING, OUTCOMES };

/* Flash that is worn out: operations that are refused, or that say they are done and are not. */
enum { SOUND, NO_PROGRAM, NO_ERASE, NEITHER, KEEPS_NOTHING, KEEPS_NOISE, CONDITIONS };
static int condition;
static uint32_t operations_left;

static void wear(void)
{
    if (condition != SOUND && operations_left-- == 0) {
        violated("flash that is worn out ends in an error, not in endless operations");
    }
}

int tfin_port_flash_program(uint32_t address, const void *data)
{
    uint32_t size = map.program_bytes, unit = address / size;
    int slot = in(address, &map.slot[0]) || in(address, &map.slot[1]);
    before_operation(address);
    wear();
    if (condition >= KEEPS_NOTHING) {
        if (condition == KEEPS_NOISE && !slot) {
            noise(flash[0] + address, size);
        }
        return 1;
    }
    if (condition == NO_PROGRAM || condition == NEITHER) {
        return 0;
    }
    if (address % size != 0) {
        violated("a unit is programmed at its beginning");
    }
    if (!erased(flash[0] + address, size) &&
        (!uncertain[unit] || !erased(flash[1] + address, size))) {
        violated("what is programmed was erased before");
    }
    if (slot) {
        const tfin_flash_area *other = &map.slot[tfin_slots_other(&slots)];
        if (!in(address, other) || address - other->address >= (slots.total + 31u) / 32u * 32u) {
            violated("a load stays within its pack");
        }
    }
    if (uncertain[unit] && slot) {
        violated("what a cut left uncertain is erased before it is programmed");
    }
    /* over cells that are no longer quite erased anything may come out */
    int quality = uncertain[unit] ? (int)choose(3) : 0;
    int cut_now = cut_here();
    int outcome = cut_now ? (int)choose(OUTCOMES) : ALL;
    uint8_t before[2][RECORD];
    memcpy(before[0], flash[0] + address, size);
    memcpy(before[1], flash[1] + address, size);
    for (int version = 0; version < 2; version++) {
        uint8_t *to = flash[version] + address;
        uint32_t part = exhaustive ? size / 2u : choose(size + 1u);
        switch (outcome) {
        case NOTHING: break;
        case PART:
            if (version == 0) {
                memcpy(to, data, part);
            } else {
                memcpy(to, flash[0] + address, size);
            }
            break;
        case OTHER:
            if (version == 0) {
                noise(to, size);
            } else {
                memcpy(to, flash[0] + address, size);
            }
            break;
        case ALL: memcpy(to, data, size); break;
        default:
            if ((version == 0) == (outcome == NOW_ALL)) {
                memcpy(to, data, size);
            } else if (outcome == NOW_ALL || version == 1) {
                noise(to, size);
            } else {
                memcpy(to, before[0], size);
            }
        }
    }
    if (outcome == NOW_NOTHING) {
        memset(flash[0] + address, map.erased, size);
        noise(flash[1] + address, size);
    }
    if (outcome != NOTHING) {
        uncertain[unit] = outcome == NOW_ALL || outcome == NOW_NOTHING;
    }
    if (quality == 1) {
        noise(flash[1] + address, size);
        uncertain[unit] = 1;
    } else if (quality == 2) {
        noise(flash[0] + address, size);
        memcpy(flash[1] + address, flash[0] + address, size);
        uncertain[unit] = 0;
    }
    if (cut_now) {
        cut();
    }
    if (!slot && (address + size) % RECORD == 0) {
        after_record(flash[0] + address + size - RECORD);
    }
    return 1;
}

/* The exhaustive search uses one piece of a sheet, so that the states stay few; the others are
 * blank. */
static int says_nothing(uint32_t address)
{
    if (!exhaustive || address < map.journal[0].address) {
        return 0;
    }
    uint32_t at = (address - map.journal[0].address) % map.journal[0].size;
    return at >= TFIN_SHEET_PIECE && at < TFIN_SHEET_BYTES;
}

int tfin_port_flash_erase(uint32_t address)
{
    const tfin_flash_area *area = &map.slot[0];
    const tfin_flash_area *areas[] = {&map.slot[0], &map.slot[1], &map.journal[0], &map.journal[1]};
    for (int i = 0; i < 4; i++) {
        area = in(address, areas[i]) ? areas[i] : area;
    }
    uint32_t size = area->erase_bytes;
    erasures++;
    before_operation(address);
    if (!in(address, area) || (address - area->address) % size != 0) {
        violated("a unit is erased at its beginning");
    }
    wear();
    if (condition == NO_ERASE || condition == NEITHER) {
        return 0;
    }
    int cut_now = cut_here();
    int outcome = cut_now ? (int)choose(OUTCOMES) : ALL;
    uint32_t part = outcome == PART ? (exhaustive ? size / 2u : choose(size)) : size;
    part -= part % map.program_bytes;
    for (uint32_t at = address; at < address + size; at += map.program_bytes) {
        uint8_t *now = flash[0] + at, *later = flash[1] + at;
        uint32_t unit = at / map.program_bytes;
        switch (says_nothing(at) ? NOTHING : outcome) {
        case NOTHING: break;
        case PART:
        case ALL:
            if (at < address + part) {
                memset(now, map.erased, map.program_bytes);
                memset(later, map.erased, map.program_bytes);
                uncertain[unit] = 0;
            }
            break;
        case OTHER:
            noise(now, map.program_bytes);
            memcpy(later, now, map.program_bytes);
            uncertain[unit] = 0;
            break;
        case NOW_ALL: /* reads erased, and otherwise */
            memset(now, map.erased, map.program_bytes);
            noise(later, map.program_bytes);
            uncertain[unit] = 1;
            break;
        default: /* reads as before, and otherwise */
            if (!erased(now, map.program_bytes)) {
                noise(later, map.program_bytes);
                uncertain[unit] = 1;
            }
        }
    }
    if (cut_now) {
        cut();
    }
    return 1;
}

/* -------------------------------------------------------------------------------------- engine */

/* the first one is the factory's as well */
static uint8_t packs[PACKS][MAX_PACK] __attribute__((aligned(TFIN_ALIGN)));
static const uint32_t counters[PACKS] = {1, 2, 2};
static uint32_t pack_bytes; /* of the largest */
static uint32_t size_of[PACKS];
enum { FACTORY = 0, AT_COUNTER = 16, SIGNED = 160 };

static void make_packs(void)
{
    for (uint32_t i = 0; i < PACKS; i++) {
        for (uint32_t at = 0; at < pack_bytes; at++) {
            packs[i][at] = (uint8_t)(at * 31u + i * 101u + 7u);
            if (packs[i][at] == map.erased) {
                packs[i][at] ^= 0x55u;
            }
        }
        memset(packs[i] + 32, 0, 4); /* kernels */
        size_of[i] = exhaustive || i == FACTORY ? pack_bytes
                                                : 288u + 16u * choose((pack_bytes - 272u) / 16u);
        memcpy(packs[i] + 8, &size_of[i], 4);
        memcpy(packs[i] + AT_COUNTER, &counters[i], 4);
    }
}

static int genuine(const uint8_t *header)
{
    for (int i = 0; i < PACKS; i++) {
        if (memcmp(packs[i], header, HEADER) == 0) {
            return i;
        }
    }
    return -1;
}

int tfin_verify_header(const void *header, const tfin_trust *trust)
{
    int pack = genuine(header);
    return pack < 0                                           ? TFIN_E_SIGNATURE
           : counters[pack] < trust->minimum_security_counter ? TFIN_E_ROLLBACK
                                                              : TFIN_OK;
}

static int commanding;  /* walks with signed commands */
static int opened = -1; /* which pack */
enum { RELEASER = 0x33 };

static int copied(const uint8_t *from, uint8_t *to, uint32_t size)
{
    if (from >= flash[0] && from < flash[0] + MAX_FLASH) {
        return tfin_port_flash_read((uint32_t)(from - flash[0]), to, size);
    }
    memcpy(to, from, size);
    return 1;
}

/* Nothing behind the pack is read. */
static int examine(const uint8_t *where, const tfin_trust *trust)
{
    static uint8_t copy[MAX_PACK];
    if (commanding && tfin_keys_manifest(&slots.journal) != NULL &&
        (trust->keys == NULL || trust->keys[0] != RELEASER)) {
        violated("packs verify under the keys that count");
    }
    int pack = copied(where, copy, HEADER) ? genuine(copy) : -1;
    for (int i = 0; pack < 0 && i < PACKS; i++) {
        if (memcmp(packs[i], copy, SIGNED) == 0) {
            return TFIN_E_SIGNATURE;
        }
    }
    if (pack < 0 || !copied(where + HEADER, copy + HEADER, size_of[pack] - HEADER) ||
        memcmp(copy, packs[pack], size_of[pack]) != 0) {
        return TFIN_E_DIGEST;
    }
    if (counters[pack] < trust->minimum_security_counter) {
        return TFIN_E_ROLLBACK;
    }
    opened = pack;
    return TFIN_OK;
}

int tfin_verify(tfin_verified *verified, const void *pack, size_t size, const tfin_trust *trust)
{
    int before = opened;
    int rc = size < pack_bytes ? TFIN_E_TRUNCATED : examine(pack, trust);
    opened = before;
    verified->memory_bytes = 0;
    return rc;
}

int tfin_open(tfin_engine *engine, const void *pack, size_t size, void *memory, size_t memory_size,
              const tfin_trust *trust)
{
    (void)engine, (void)size, (void)memory, (void)memory_size;
    return examine(pack, trust);
}

void tfin_port_hash_begin(tfin_port_hash *hash)
{
    hash->words[0] = 0xCBF29CE484222325u;
}

void tfin_port_hash_update(tfin_port_hash *hash, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        hash->words[0] = (hash->words[0] ^ data[i]) * 0x100000001B3u;
    }
}

void tfin_port_hash_end(tfin_port_hash *hash, uint8_t digest[32])
{
    memset(digest, 0, 32);
    memcpy(digest, hash->words, 8);
}

static void id_of(int pack, uint8_t digest[32])
{
    tfin_port_hash hash;
    tfin_port_hash_begin(&hash);
    tfin_port_hash_update(&hash, packs[pack], SIGNED);
    tfin_port_hash_end(&hash, digest);
}

static int pack_of(const uint8_t *tag)
{
    uint8_t id[32];
    int pack = 0;
    do {
        id_of(pack, id);
    } while (memcmp(id, tag, sizeof slots.journal.now.other) != 0 && ++pack < PACKS);
    return pack % PACKS;
}

const uint8_t *tfin_pack_id(const tfin_engine *engine)
{
    static uint8_t id[32];
    (void)engine;
    id_of(opened, id);
    return id;
}

/* The last pack was released with bounds. */
int tfin_probation_possible(const tfin_engine *running, const void *candidate,
                            size_t candidate_bytes)
{
    (void)running;
    (void)candidate_bytes;
    return genuine(candidate) == PACKS - 1;
}

static int bounds_broken; /* what the probation of this boot has come to */

int tfin_probation_shadow(tfin_probation *p, tfin_engine *running, const tfin_verified *candidate)
{
    (void)candidate;
    p->engine = running;
    return TFIN_OK;
}

int tfin_probation_trial(tfin_probation *p, tfin_engine *running)
{
    p->engine = running;
    return TFIN_OK;
}

enum tfin_probation_result tfin_probation_result(const tfin_probation *p)
{
    (void)p;
    return bounds_broken ? TFIN_PROBATION_FAR : TFIN_PROBATION_PASSED;
}

int tfin_probation_advances(const tfin_probation *p)
{
    (void)p;
    return 1;
}

uint32_t tfin_security_counter(const tfin_engine *engine)
{
    (void)engine;
    return counters[opened];
}

/* ------------------------------------------------------------------------------ what is certain */

/* What the journal may say at the next boot: what it said last, or what was being written when the
 * power went. Which of the two counts is settled by the first boot that gets as far as running. */
typedef struct certain {
    tfin_journal_record last, writing, read;
    uint8_t sheet, sheet_writing, sheet_read; /* what their sheets hold, below */
    uint8_t is_writing;
    uint8_t begun;      /* there has been a boot that ended well */
    uint8_t trial_dead; /* boots in a row in trial that cost a try */
    uint8_t alive;      /* the boot in trial has worked, or is yet to come */
    uint8_t chain;      /* boots in a row that were cut in their first append */
} certain;
static certain sure;
static tfin_probation watched; /* in this boot */
static uint32_t watched_slot;
static tfin_journal_record watched_record; /* when it began */

static int same(const tfin_journal_record *a, const tfin_journal_record *b)
{
    return memcmp(a, b, 4) == 0 && memcmp(&a->floor, &b->floor, 20) == 0;
}

/* Sheets hold a number, or they are blank: 0; or, where there are commands, an identity and keys.
 */
enum { SHEETS = 3 };

static void make_sheet(uint32_t at, uint8_t *piece, const void *number)
{
    if (at == 0) {
        memset(piece, 0xC0 + *(const uint8_t *)number, TFIN_SHEET_PIECE);
    }
}

static uint8_t number_of(const uint8_t *sheet)
{
    return commanding || *sheet == map.erased ? 0 : (uint8_t)(*sheet - 0xC0);
}

/* The number of a sector's sheet, which is certain. */
static uint8_t sheet_of(uint32_t sector)
{
    const uint8_t *sheet = flash[0] + map.journal[sector].address;
    uint32_t crc = tfin_crc32(0, sheet, TFIN_SHEET_BYTES);
    int whole = memcmp(sheet + TFIN_SHEET_BYTES, &crc, sizeof crc) == 0;
    for (uint32_t i = 0; i < RECORDS_AT; i++) {
        whole &= !uncertain[((uint32_t)(sheet - flash[0]) + i) / map.program_bytes];
    }
    if (!whole) {
        violated("the sheet that counts is whole");
    }
    return number_of(sheet);
}

/* The sector before is erased when the journal is at rest. */
static void check_old_sector(void)
{
    const tfin_flash_area *old = &map.journal[1 - slots.journal.sector];
    if (sure.begun && !erased(flash[0] + old->address, old->size)) {
        violated("nothing of an older sector is left");
    }
}

static int is_shadow(const tfin_journal_record *r)
{
    return r->places >> 4 == TFIN_PHASE_SHADOW;
}

static int is_trial(const tfin_journal_record *r)
{
    return r->places >> 4 == TFIN_PHASE_TRIAL;
}

/* A record is complete, and no cut has touched it. */
static void after_record(const uint8_t *record)
{
    tfin_journal_record now;
    memcpy(&now, record, sizeof now);
    for (uint32_t i = 0; i < RECORD / map.program_bytes; i++) {
        if (uncertain[(uint32_t)(record - flash[0]) / map.program_bytes + i]) {
            return;
        }
    }
    if (now.version != TFIN_JOURNAL_VERSION || now.crc != tfin_crc32(0, &now, 28)) {
        return; /* a sheet, or programmed where an earlier cut had begun: it will be noticed when
                   read back */
    }
    appended = 1;
    uint8_t sheet = sheet_of((uint32_t)in((uint32_t)(record - flash[0]), &map.journal[1]));
    if (sure.begun && sheet != sure.sheet && !(sure.is_writing && sheet == sure.sheet_writing)) {
        violated("a sheet is the one of before, or the one that was being written");
    }
    if (reading) { /* until tfin_journal_open comes back, the other of the two may be read again */
        sure.read = now;
        sure.sheet_read = sheet;
        return;
    }
    if (sure.begun && now.floor < sure.last.floor) {
        violated("the floor never falls");
    }
    if (sure.begun && (now.commands < sure.last.commands || now.notices < sure.last.notices)) {
        violated("no counter falls");
    }
    if (sure.begun && is_trial(&sure.last) && !is_trial(&now) &&
        (now.places & 3u) != (sure.last.places & 3u) && (sure.last.detail & 0x20u) == 0) {
        violated("a pack is confirmed only after it has worked");
    }
    if (!is_trial(&now)) {
        sure.trial_dead = 0;
    } else if (sure.begun && is_shadow(&sure.last)) {
        sure.alive = 1; /* its trial begins */
    }
    if (sure.begun && is_shadow(&now) && !is_shadow(&sure.last) &&
        sure.last.places >> 4 != TFIN_PHASE_STAGED) {
        violated("only a pack that is whole comes into the shadow");
    }
    sure.last = now;
    sure.sheet = sheet;
    sure.is_writing = 0;
    sure.begun = 1;
}

/* Boots in a row that are cut while they append what they read fill a sector with records that are
 * all uncertain, so no journal of two sectors outlives as many of them as it has places. */
static int may_cut(void)
{
    return appended || sure.chain + 2u < (map.journal[1].size - RECORDS_AT) / RECORD;
}

/* What the first reading at boot made of the journal. */
static void check_reading(const tfin_journal *j)
{
    if (!sure.begun) {
        return;
    }
    uint8_t sheet = sheet_of(j->sector);
    if (!(same(&j->now, &sure.last) && sheet == sure.sheet) &&
        !(sure.is_writing && same(&j->now, &sure.writing) && sheet == sure.sheet_writing)) {
        violated("the journal says what it said, or what was being written");
    }
}

/* Called before every operation, with what the code holds in RAM. */
static void before_operation(uint32_t address)
{
    const tfin_journal *j = &slots.journal;
    if (powered && slots.running < 2 && in(address, &map.slot[slots.running])) {
        violated("the pack that runs is not touched");
    }
    const tfin_flash_area *shadow = watched.engine != NULL ? &map.slot[watched_slot] : NULL;
    if (shadow != NULL && in(address, shadow) && tfin_slots_watches(&slots, &watched)) {
        violated("the pack in shadow is not touched");
    }
    if (sure.begun) {
        uint32_t active = sure.last.places & 3u;
        if (active < 2 && in(address, &map.slot[active])) {
            violated("the active pack is not touched");
        }
    }
    if (reading || j->copies == 0) {
        return;
    }
    uint8_t sheet = j->change != NULL && !commanding
                        ? *(const uint8_t *)j->context
                        : number_of(flash[0] + map.journal[j->sector].address);
    if (!sure.begun || !same(&j->now, &sure.last) || sheet != sure.sheet) {
        sure.writing = j->now;
        sure.sheet_writing = sheet;
        sure.is_writing = 1;
    }
}

void __real_tfin_journal_open(tfin_journal *journal, const tfin_flash_map *in_map);
void __wrap_tfin_journal_open(tfin_journal *journal, const tfin_flash_map *in_map);

void __wrap_tfin_journal_open(tfin_journal *journal, const tfin_flash_map *in_map)
{
    reading = 1;
    __real_tfin_journal_open(journal, in_map);
    reading = 0;
    check_reading(journal);
    if (appended) {
        sure.begun = 1;
        sure.last = sure.read;
        sure.sheet = sure.sheet_read;
        sure.is_writing = 0;
    }
}

static void after_boot(const certain *before, int rc)
{
    const tfin_journal_record *now = &slots.journal.now;
    if (rc != TFIN_OK || opened < 0) {
        violated("a pack runs after every boot");
    }
    if (counters[opened] < now->floor) {
        violated("no pack below the floor runs");
    }
    if (!same(now, &sure.last)) {
        violated("a boot acts on what is certain");
    }
    if (sheet_of(slots.journal.sector) != sure.sheet) {
        violated("a boot acts on what is certain");
    }
    check_old_sector();
    if (slots.running < 2) {
        uint8_t id[32];
        id_of(opened, id);
        if (memcmp(id, slots.running == tfin_slots_active(&slots) ? now->active : now->other,
                   sizeof now->active) != 0) {
            violated("the pack that runs is the one that the journal names");
        }
    } else if (tfin_slots_active(&slots) != TFIN_SLOT_FACTORY) {
        violated("an active pack still opens");
    }
    if (before->begun && is_trial(&before->last) && !before->is_writing &&
        cause == TFIN_CAUSE_POWER && (now->detail & 0xFu) != (before->last.detail & 0xFu)) {
        violated("a pulled plug costs no try");
    }
    sure.chain = 0;
    if (is_trial(now) && slots.running == tfin_slots_other(&slots)) {
        int failed = cause == TFIN_CAUSE_FAULT || (cause == TFIN_CAUSE_OTHER && !sure.alive);
        sure.trial_dead = (uint8_t)(sure.trial_dead + (failed != 0));
        sure.alive = 0;
        if (sure.trial_dead > 2) { /* the third is the one that gives it up */
            violated("a pack in trial that keeps failing is given up after three boots");
        }
    }
}

/* ------------------------------------------------------------------------------------- sessions */

static tfin_trust trust;
static tfin_engine engine;
static uint32_t now_s;
static uint64_t installs, trials, follows, confirms, reverts, renewals;

static void finish(void)
{
    while (tfin_slots_step(&slots)) {
    }
}

static void require(int condition_holds, const char *rule)
{
    if (!condition_holds) {
        violated(rule);
    }
}

static void booted(void);

/* What runs goes on running, whatever becomes of the pack in its shadow. */
static void watch(void)
{
    static uint64_t work[TFIN_SLOTS_WORK_BYTES / 8 + 1];
    int before = opened;
    tfin_slots_watch(&slots, &watched, work);
    opened = before;
    watched_slot = tfin_slots_other(&slots);
    watched_record = slots.journal.now;
    require(watched.engine == NULL || tfin_slots_watches(&slots, &watched),
            "a probation is of a pack in its phase");
}

static void boot(void)
{
    memset(&trust, 0, sizeof trust);
    opened = -1;
    watched.engine = NULL;
    powered = appended = reading = 0;
    memset(&slots, 0, sizeof slots);
    const certain before = sure;
    int rc =
        tfin_slots_open(&slots, &map, &engine, NULL, 0, &trust, packs[FACTORY], pack_bytes, cause);
    powered = appended = 1;
    after_boot(&before, rc);
    watch();
    booted();
}

static uint8_t header[TFIN_SLOTS_WORK_BYTES] __attribute__((aligned(TFIN_ALIGN)));

static int begin(uint32_t pack)
{
    memcpy(header, packs[pack], HEADER);
    uint64_t before = operations;
    int below = counters[pack] < slots.journal.now.floor;
    int rc = tfin_slots_begin(&slots, header, now_s);
    if (rc != TFIN_SLOTS_OK) {
        return rc;
    }
    finish();
    if (below && operations != before) {
        violated("a pack below the floor causes no operation on flash");
    }
    return slots.result;
}

static void install(int pack, int whole)
{
    now_s += exhaustive || choose(3) != 0 ? 86400u : 0;
    if (begin((uint32_t)pack) != TFIN_SLOTS_OK) {
        return;
    }
    finish();
    if (slots.result != TFIN_SLOTS_OK || !slots.known) {
        return;
    }
    while (slots.next < size_of[pack]) {
        uint32_t size = exhaustive ? 32u : 32u * (1u + choose(8));
        if (size > size_of[pack] - slots.next) {
            size = size_of[pack] - slots.next;
        }
        if (!whole && choose(8) == 0) {
            return;
        }
        if (!whole && choose(4) == 0 && begin(choose(PACKS)) == TFIN_SLOTS_OK) {
            finish();
            return;
        }
        if (tfin_slots_data(&slots, slots.next, packs[pack] + slots.next, size) != TFIN_SLOTS_OK) {
            violated("the next data is taken");
        }
        finish();
    }
    memcpy(header, packs[pack], HEADER);
    if (tfin_slots_end(&slots, header) == TFIN_SLOTS_OK) {
        finish();
        installs += tfin_slots_phase(&slots) == TFIN_PHASE_STAGED;
    }
}

static uint32_t obeyed(enum tfin_slots_command command)
{
    if (tfin_slots_command(&slots, command) != TFIN_SLOTS_OK) {
        return 0;
    }
    finish();
    return 1;
}

enum action {
    IDLE,
    ACTIVATE,
    ALIVE,
    CONFIRM,
    REVERT,
    ABORT,
    TRY,
    FOLLOW,
    FORGED,
    INSTALL,
    RENEW = INSTALL + PACKS
};
static int renews = 1; /* the sheet is changed too */

static void act(enum action action)
{
    static uint8_t forged[HEADER] __attribute__((aligned(TFIN_ALIGN)));
    static uint8_t number;
    uint64_t before = operations;
    switch (action) {
    case ACTIVATE:
        if (obeyed(TFIN_SLOTS_ACTIVATE)) {
            sure.alive = 1;
            trials++;
        }
        break;
    case CONFIRM: confirms += obeyed(TFIN_SLOTS_CONFIRM); break;
    case REVERT: reverts += obeyed(TFIN_SLOTS_REVERT); break;
    case ABORT: (void)obeyed(TFIN_SLOTS_ABORT); break;
    case TRY:
        if (obeyed(TFIN_SLOTS_TRY)) {
            sure.alive = 1;
            trials++;
        }
        break;
    case FOLLOW:
        bounds_broken = choose(2) != 0;
        require(tfin_slots_phase(&slots) < TFIN_PHASE_STAGED ||
                    !tfin_slots_watches(&slots, &watched) ||
                    (slots.journal.now.places == watched_record.places &&
                     memcmp(slots.journal.now.other, watched_record.other,
                            sizeof watched_record.other) == 0),
                "a probation ends with its phase");
        tfin_slots_follow(&slots, &watched);
        finish();
        follows += operations != before;
        break;
    case ALIVE:
        if (obeyed(TFIN_SLOTS_ALIVE)) {
            sure.trial_dead = 0;
            sure.alive = 1;
        }
        break;
    case FORGED:
        memcpy(forged, packs[1], HEADER);
        forged[HEADER - 1] ^= 1u;
        if (tfin_slots_begin(&slots, forged, now_s) == TFIN_SLOTS_OK) {
            finish();
        }
        if (operations != before) {
            violated("a forged header causes no operation on flash");
        }
        break;
    case RENEW:
        number = (uint8_t)(1 + sure.sheet % (SHEETS - 1));
        if (tfin_slots_renew(&slots, make_sheet, &number) == TFIN_SLOTS_OK) {
            finish();
            require(slots.result == TFIN_SLOTS_OK && sheet_of(slots.journal.sector) == number,
                    "a sheet that was written counts");
            check_old_sector();
            renewals++;
        }
        break;
    case IDLE: break;
    default: install((int)action - INSTALL, exhaustive || choose(4) != 0); break;
    }
}

/* A walk does what leads on half of the time, so that it sees confirmations, not only attempts. */
static enum action next_action(void)
{
    if (!exhaustive && choose(2) != 0) {
        switch (tfin_slots_phase(&slots)) {
        case TFIN_PHASE_ERASING:
        case TFIN_PHASE_LOADING: return (enum action)(INSTALL + pack_of(slots.journal.now.other));
        case TFIN_PHASE_STAGED: return ACTIVATE;
        case TFIN_PHASE_SHADOW: return choose(2) != 0 ? FOLLOW : IDLE;
        case TFIN_PHASE_TRIAL: return choose(2) != 0 ? ALIVE : CONFIRM;
        default: break;
        }
    }
    return (enum action)choose((uint32_t)(RENEW + renews));
}

/* ------------------------------------------------------------------------------------ commands */

/* Signed by whoever knows the first byte of the key. */
uint32_t tfin_port_verify(const uint8_t signature[64], const uint8_t public_key[32],
                          const uint8_t *message, size_t size)
{
    uint8_t digest[32];
    tfin_port_hash hash;
    tfin_port_hash_begin(&hash);
    tfin_port_hash_update(&hash, public_key, 1);
    tfin_port_hash_update(&hash, message, size);
    tfin_port_hash_end(&hash, digest);
    return memcmp(signature, digest, sizeof digest) == 0 ? TFIN_PORT_VERIFIED : 0;
}

static void sign(uint8_t key, const uint8_t *message, uint32_t size, uint8_t *signature)
{
    tfin_port_hash hash;
    tfin_port_hash_begin(&hash);
    tfin_port_hash_update(&hash, &key, 1);
    tfin_port_hash_update(&hash, message, size);
    memset(signature, 0, 64);
    tfin_port_hash_end(&hash, signature);
}

enum { ROOT = 0x11, COMMANDER = 0x22, CARDS = 1 << 16, KEPT = 32, LONGEST = 256 };
const uint8_t tinyfin_root_key[32] = {ROOT};
static tfin_commands told;
static uint8_t erasures_of[CARDS]; /* of a card, by its token */
static uint8_t broadcasts[CARDS];  /* that were answered, by their counter */
static uint8_t pages_answered[CARDS];
static uint32_t cards, counter, page, newest_keys, keys_answered;
static uint64_t done_once, pages_done, manifests_done;

typedef struct sent {
    enum tfin_command_kind kind;
    uint32_t size;
    uint8_t bytes[LONGEST];
} sent;
static sent kept[KEPT]; /* to be sent again */

static int erase_a_card(uint64_t token)
{
    if (++erasures_of[token % CARDS] > 1) {
        violated("a command is done once");
    }
    return TFIN_OK;
}

static int do_nothing(uint32_t t_mono_s)
{
    (void)t_mono_s;
    return TFIN_OK;
}

static int reset_nothing(void)
{
    return TFIN_OK;
}

static int apply_a_notice(tfin_notice *notice)
{
    if (pages_answered[notice->id % CARDS]) {
        violated("a page of notices that was answered is not applied again");
    }
    return TFIN_OK;
}

static void note_nothing(enum tfin_command_kind kind, const uint8_t *payload)
{
    (void)kind, (void)payload;
}

static const tfin_effects effects = {erase_a_card,   do_nothing,    reset_nothing,
                                     apply_a_notice, reset_nothing, note_nothing};

static uint8_t *number(uint8_t *to, uint64_t value, uint32_t size)
{
    memcpy(to, &value, size);
    return to;
}

static const uint8_t terminal_id[8] = {7};

/* For now, to this terminal; or to all. */
static sent new_command(uint32_t opcode, int to_all, uint64_t value, const uint8_t *pack_id)
{
    sent s = {TFIN_COMMAND, 128, {0}};
    number(s.bytes, 0x4D434654, 4);
    s.bytes[4] = (uint8_t)opcode;
    s.bytes[5] = (uint8_t)to_all;
    if (to_all) {
        number(s.bytes + 32, ++counter, 4);
    } else {
        memcpy(s.bytes + 8, terminal_id, sizeof terminal_id);
        (void)tfin_commands_nonce(&told, s.bytes + 16);
    }
    if (pack_id != NULL) {
        memcpy(s.bytes + 36, pack_id, 16);
    }
    number(s.bytes + 52, value, 8);
    sign(keys_answered != 0 ? COMMANDER : ROOT, s.bytes, 64, s.bytes + 64);
    return s;
}

static sent new_page(void)
{
    sent s = {TFIN_NOTICES, 16 + 21 + 64, {0}};
    page++;
    number(s.bytes, 0x544E4654, 4);
    s.bytes[4] = 1;
    number(s.bytes + 6, page, 2);
    memcpy(s.bytes + 8, terminal_id, sizeof terminal_id);
    number(s.bytes + 16, page, 8); /* the transaction says which page it is */
    sign(keys_answered != 0 ? COMMANDER : ROOT, s.bytes, 16 + 21, s.bytes + 16 + 21);
    return s;
}

static sent new_manifest(void)
{
    sent s = {TFIN_NEW_KEYS, sizeof(tfin_manifest), {0}};
    number(s.bytes, 0x4D4B4654, 4);
    number(s.bytes + 4, ++newest_keys, 2);
    s.bytes[6] = s.bytes[7] = 1;
    s.bytes[8] = ROOT;
    s.bytes[32] = RELEASER;
    s.bytes[96] = COMMANDER;
    uint32_t crc = tfin_crc32(0, s.bytes, 28);
    number(s.bytes + 28, tfin_crc32(crc, s.bytes + 32, 128), 4);
    sign(ROOT, s.bytes, 160, s.bytes + 160);
    return s;
}

static uint32_t version_of_keys(void)
{
    const tfin_manifest *m = tfin_keys_manifest(&slots.journal);
    return m != NULL ? m->version : 0;
}

static int take(const sent *s)
{
    static uint8_t payload[LONGEST] __attribute__((aligned(4)));
    int rc;
    memcpy(payload, s->bytes, s->size);
    rc = tfin_commands_take(&told, s->kind, payload, s->size);
    if (rc != TFIN_SLOTS_OK) {
        return rc;
    }
    do {
        finish();
        rc = tfin_commands_step(&told);
    } while (rc < 0);
    return rc;
}

static void check_answer(const sent *s, int rc)
{
    uint64_t value = 0;
    if (rc != TFIN_SLOTS_OK) {
        return;
    }
    memcpy(&value, s->bytes + 32, 4);
    if (s->kind == TFIN_COMMAND && s->bytes[5] != 0 && broadcasts[(uint32_t)value % CARDS]++ != 0) {
        violated("a command is done once");
    }
    memcpy(&value, s->bytes + 52, 8);
    if (s->kind == TFIN_COMMAND &&
        (s->bytes[4] == TFIN_OP_ACTIVATE || s->bytes[4] == TFIN_OP_TRY)) {
        sure.alive = 1;
    } else if (s->kind == TFIN_COMMAND && s->bytes[4] == TFIN_OP_ERASE_CARD) {
        require(erasures_of[value % CARDS] == 1, "a command that was answered was done");
        done_once++;
    } else if (s->kind == TFIN_NOTICES) {
        memcpy(&value, s->bytes + 16, 8);
        pages_answered[value % CARDS] = 1;
        pages_done++;
    } else if (s->kind == TFIN_NEW_KEYS) {
        memcpy(&keys_answered, s->bytes + 4, 2);
        manifests_done++;
    }
}

static void command(void)
{
    uint32_t which = choose(8);
    uint8_t id[32];
    uint8_t own[8];
    if (!tfin_keys_id(&slots.journal, own)) {
        sent s = {TFIN_NEW_IDENTITY, sizeof(tfin_new_identity), {7, 0}};
        check_answer(&s, take(&s));
        return;
    }
    require(memcmp(own, terminal_id, sizeof own) == 0, "an identity stays");
    id_of((int)choose(PACKS), id);
    sent *s = &kept[choose(KEPT)];
    switch (which) {
    case 0: *s = new_command(TFIN_OP_ERASE_CARD, 0, ++cards, NULL); break;
    case 1: *s = new_command(TFIN_OP_ACTIVATE + 3u * choose(2), 1, 0, id); break;
    case 2: *s = new_command(TFIN_OP_RAISE_FLOOR, 1, 1u + choose(3), NULL); break;
    case 3: *s = new_page(); break;
    case 4: *s = new_manifest(); break;
    default:
        if (s->size == 0) {
            return;
        }
    }
    if (s->kind == TFIN_NEW_KEYS && choose(4) == 0) {
        s->bytes[choose(s->size)] ^= (uint8_t)(1u << choose(8));
    }
    check_answer(s, take(s));
    require(version_of_keys() >= keys_answered, "no version of keys falls");
}

static void booted(void)
{
    if (commanding) {
        tfin_commands_open(&told, &slots, &effects, random_number());
        uint32_t version = version_of_keys();
        require(version >= keys_answered, "no version of keys falls");
        keys_answered = version;
    }
}

/* ---------------------------------------------------------------------------------- power and plug
 */

/* From power-up to the next end: a cut, a fault, or the plug while nothing is written. */
static void session(void)
{
    volatile uint32_t left = exhaustive ? 1u : choose(6);
    if (setjmp(power) != 0) {
        cause = TFIN_CAUSE_POWER;
        sure.chain = (uint8_t)(appended ? 0 : sure.chain + 1);
        return;
    }
    boot();
    for (; left > 0; left--) {
        if (commanding && choose(2) != 0) {
            command();
        } else {
            act(next_action());
        }
    }
    cause = (enum tfin_slots_cause)choose(exhaustive ? 2 : 3);
    if (cause == TFIN_CAUSE_POWER) {
        sure.trial_dead = 0;
    }
}

/* ---------------------------------------------------------------------------------------- walks */

static uint32_t lay_out(uint32_t at, tfin_flash_area area[2], uint32_t size, uint32_t erase_bytes)
{
    for (int i = 0; i < 2; i++) {
        area[i] = (tfin_flash_area){at, size, erase_bytes};
        at += size;
    }
    return at;
}

static void new_flash(uint32_t slot_erase, uint32_t slot_units, uint32_t journal_erase,
                      uint32_t program_bytes, uint8_t erased_byte)
{
    map.program_bytes = (uint8_t)program_bytes;
    map.erased = erased_byte;
    flash_bytes = lay_out(0, map.slot, slot_erase * slot_units, slot_erase);
    uint32_t least = (RECORDS_AT + 12u * RECORD + journal_erase - 1u) / journal_erase;
    uint32_t units = exhaustive ? 1u : least + choose(3);
    flash_bytes = lay_out(flash_bytes, map.journal, journal_erase * units, journal_erase);
    if (units > least) { /* sectors of different size */
        map.journal[1].size -= journal_erase;
    }
    memset(flash[0], erased_byte, flash_bytes);
    memset(flash[1], erased_byte, flash_bytes);
    memset(uncertain, 0, flash_bytes / program_bytes);
    memset(&sure, 0, sizeof sure);
    now_s = 0;
    cause = TFIN_CAUSE_POWER;
    make_packs();
}

static void new_shape(void)
{
    static const uint32_t erase[] = {128, 256, 1024, 4096, 16384, 131072};
    uint32_t size = choose(60) == 0 ? erase[5] : choose(10) == 0 ? erase[4] : erase[choose(4)];
    uint32_t units = size < 4096 ? 1u + choose(4096 / size) : 1;
    uint32_t limit = size * units < MAX_PACK ? size * units : MAX_PACK;
    if (limit < 288u) {
        limit = 512;
        units = 512u / size;
    }
    pack_bytes = 288u + 16u * choose((limit - 288u) / 16u + 1u);
    new_flash(size, units, size, 2u << choose(5), choose(2) != 0 ? 0xFF : 0);
}

static void walk(uint64_t steps)
{
    enum { STEPS_OF_A_WALK = 100 };
    uint64_t walks = 0, seen = 0;
    /* a third of the boots after a cut are cut while they append what they read */
    for (uint64_t step = 0; step < steps; step++) {
        if (step % STEPS_OF_A_WALK == 0) {
            new_shape();
            memset(kept, 0, sizeof kept);
            memset(pages_answered, 0, sizeof pages_answered);
            memset(broadcasts, 0, sizeof broadcasts);
            counter = page = newest_keys = keys_answered = 0;
            walks++;
        }
        uint32_t soon = 2u * RECORD / map.program_bytes;
        cut_in = choose(2) != 0 ? 1u + choose(1u << choose(12)) : 0;
        cut_in = cuts != seen && choose(3) == 0 ? 1u + choose(soon) : cut_in;
        seen = cuts;
        session();
    }
    if (commanding) {
        printf(
            "%llu steps in %llu walks: %llu operations on flash, %llu cut; %llu cards erased, %llu "
            "pages of notices, %llu key manifests; nothing violated\n",
            (unsigned long long)steps, (unsigned long long)walks, (unsigned long long)operations,
            (unsigned long long)cuts, (unsigned long long)done_once, (unsigned long long)pages_done,
            (unsigned long long)manifests_done);
        return;
    }
    printf("%llu steps in %llu walks: %llu operations on flash, %llu cut; %llu packs staged, "
           "%llu trials, %llu followed from bounds, %llu confirmed, %llu reverted, %llu sheets "
           "written; nothing violated\n",
           (unsigned long long)steps, (unsigned long long)walks, (unsigned long long)operations,
           (unsigned long long)cuts, (unsigned long long)installs, (unsigned long long)trials,
           (unsigned long long)follows, (unsigned long long)confirms, (unsigned long long)reverts,
           (unsigned long long)renewals);
}

/* ------------------------------------------------------------------------ every reachable state */

/* A flash of two slots of two blocks and a journal of two sectors of a sheet and six records. A
 * unit is one of a few hundred patterns, so a state is a list of their numbers. */
enum { SLOT_BYTES = 512, PLACES = 6, SECTOR_BYTES = RECORDS_AT + PLACES * RECORD };
enum { ALL_BYTES = 2 * SLOT_BYTES + 2 * SECTOR_BYTES };
enum { ALL_UNITS = ALL_BYTES / RECORD, MAX_PATTERNS = 65536 };

typedef struct state {
    uint16_t now[ALL_UNITS], later[ALL_UNITS];
    certain sure;
    uint8_t cause;
} __attribute__((aligned(8))) state;

static uint8_t patterns[MAX_PATTERNS][RECORD];
static uint32_t pattern_count;
static state *states;
static uint32_t state_count, state_limit;
static uint32_t *table; /* 1 + index of a state; a power of two of places */
static uint32_t table_size;

static uint64_t hash_of(const void *data, size_t size) /* a multiple of 8 */
{
    const uint8_t *at = data;
    uint64_t hash = 0xCBF29CE484222325u, word;
    for (size_t i = 0; i < size; i += 8) {
        memcpy(&word, at + i, 8);
        hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 32;
    }
    return hash;
}

static uint16_t pattern_of(const uint8_t *unit)
{
    static uint32_t places[4 * MAX_PATTERNS];
    uint32_t at = (uint32_t)hash_of(unit, RECORD) % (4 * MAX_PATTERNS);
    while (places[at] != 0) {
        if (memcmp(patterns[places[at] - 1], unit, RECORD) == 0) {
            return (uint16_t)(places[at] - 1);
        }
        at = (at + 1u) % (4 * MAX_PATTERNS);
    }
    if (pattern_count == MAX_PATTERNS) {
        fprintf(stderr, "powercut: too many patterns\n");
        exit(2);
    }
    memcpy(patterns[pattern_count], unit, RECORD);
    places[at] = ++pattern_count;
    return (uint16_t)(pattern_count - 1u);
}

static int is_record(const uint8_t *unit)
{
    tfin_journal_record r;
    memcpy(&r, unit, sizeof r);
    return r.version == TFIN_JOURNAL_VERSION && r.crc == tfin_crc32(0, &r, 28);
}

/* Day and installs of the day do not decide anything here: every install begins on a new day. */
static void forget_day(tfin_journal_record *r)
{
    r->day = 0;
    r->reason &= 0x1Fu;
}

/* Sequence numbers count only by their order. What is older than a certain record never counts
 * again, so it is noise. */
static void renumber(uint8_t unit[2][2 * PLACES][RECORD])
{
    uint32_t certain_one = 0;
    tfin_journal_record r;
    for (int i = 0; i < 2 * PLACES; i++) {
        memcpy(&r, unit[0][i], sizeof r);
        if (memcmp(unit[0][i], unit[1][i], RECORD) == 0 && is_record(unit[0][i]) &&
            r.sequence > certain_one) {
            certain_one = r.sequence;
        }
    }
    uint32_t seen[4 * PLACES], count = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < 4 * PLACES; i++) {
            uint8_t *at = unit[i % 2][i / 2];
            memcpy(&r, at, sizeof r);
            if (!is_record(at)) {
                continue;
            }
            if (pass == 0) {
                if (r.sequence < certain_one) {
                    memset(at, NOISE, RECORD);
                } else {
                    seen[count++] = r.sequence;
                }
                continue;
            }
            uint32_t rank = 1;
            for (uint32_t k = 0; k < count; k++) { /* how many different numbers are below */
                uint32_t m = 0;
                while (seen[m] != seen[k]) {
                    m++;
                }
                rank += m == k && seen[k] < r.sequence;
            }
            r.sequence = rank;
            forget_day(&r);
            r.crc = tfin_crc32(0, &r, 28);
            memcpy(at, &r, sizeof r);
        }
    }
}

static int is_in_sheet(uint32_t at)
{
    return at >= map.journal[0].address &&
           (at - map.journal[0].address) % SECTOR_BYTES < RECORDS_AT;
}

static int is_sheet(const uint8_t *unit)
{
    for (int i = 1; i < RECORD; i++) {
        if (unit[i] != unit[0]) {
            return 0;
        }
    }
    return unit[0] > 0xC0 && unit[0] < 0xC0 + SHEETS;
}

/* All zero but for its first bytes. */
static int is_seal(const uint8_t *unit)
{
    for (int i = 4; i < RECORD; i++) {
        if (unit[i] != 0) {
            return 0;
        }
    }
    return 1;
}

static uint32_t address_of_record(uint32_t i)
{
    return map.journal[i / PLACES].address + RECORDS_AT + i % PLACES * RECORD;
}

/* What is neither erased nor right is all the same. */
static int means_something(uint32_t at, const uint8_t *unit)
{
    if (at >= map.journal[0].address) {
        return erased(unit, RECORD) ||
               (is_in_sheet(at) ? is_sheet(unit) || is_seal(unit) : is_record(unit));
    }
    for (int i = 0; i < PACKS; i++) {
        if (at % SLOT_BYTES < pack_bytes && memcmp(packs[i] + at % SLOT_BYTES, unit, RECORD) == 0) {
            return 1;
        }
    }
    return erased(unit, RECORD);
}

static void keep_state(void)
{
    state s;
    uint8_t unit[2][2 * PLACES][RECORD];
    memset(&s, 0, sizeof s);
    for (uint32_t at = 0; at < ALL_BYTES; at += RECORD) {
        for (int version = 0; version < 2; version++) {
            if (!means_something(at, flash[version] + at)) {
                memset(flash[version] + at, NOISE, RECORD);
            }
        }
    }
    for (int version = 0; version < 2; version++) {
        for (uint32_t i = 0; i < 2u * PLACES; i++) {
            uint32_t at = address_of_record(i);
            memcpy(unit[version][i], flash[uncertain[at / RECORD] ? version : 0] + at, RECORD);
        }
    }
    renumber(unit);
    for (uint32_t i = 0; i < ALL_UNITS; i++) {
        s.now[i] = pattern_of(flash[0] + i * RECORD);
        s.later[i] = pattern_of(flash[uncertain[i] ? 1 : 0] + i * RECORD);
    }
    for (uint32_t i = 0; i < 2u * PLACES; i++) {
        s.now[address_of_record(i) / RECORD] = pattern_of(unit[0][i]);
        s.later[address_of_record(i) / RECORD] = pattern_of(unit[1][i]);
    }
    s.sure = sure;
    memset(&s.sure.read, 0, sizeof s.sure.read);
    s.sure.sheet_read = 0;
    forget_day(&s.sure.last);
    forget_day(&s.sure.writing);
    s.sure.last.sequence = s.sure.writing.sequence = 0;
    s.sure.last.crc = s.sure.writing.crc = 0;
    if (!sure.is_writing) {
        memset(&s.sure.writing, 0, sizeof s.sure.writing);
        s.sure.sheet_writing = 0;
    }
    s.cause = (uint8_t)cause;
    uint32_t at = (uint32_t)hash_of(&s, sizeof s) & (table_size - 1u);
    while (table[at] != 0) {
        if (memcmp(&states[table[at] - 1], &s, sizeof s) == 0) {
            return;
        }
        at = (at + 1u) & (table_size - 1u);
    }
    if (state_count == state_limit) {
        return;
    }
    states[state_count] = s;
    table[at] = ++state_count;
}

static void take_state(const state *s)
{
    for (uint32_t i = 0; i < ALL_UNITS; i++) {
        memcpy(flash[0] + i * RECORD, patterns[s->now[i]], RECORD);
        memcpy(flash[1] + i * RECORD, patterns[s->later[i]], RECORD);
        uncertain[i] = s->now[i] != s->later[i];
    }
    sure = s->sure;
    cause = (enum tfin_slots_cause)s->cause;
    now_s = 0;
}

static int all(uint32_t limit)
{
    uint64_t runs = 0;
    state_limit = limit;
    for (table_size = 1; table_size < 2u * limit; table_size *= 2u) {
    }
    states = malloc((size_t)limit * sizeof *states);
    table = calloc(table_size, sizeof *table);
    if (states == NULL || table == NULL) {
        fprintf(stderr, "powercut: not enough memory for %u states\n", limit);
        return 2;
    }
    pack_bytes = 288;
    exhaustive = 1;
    new_flash(SLOT_BYTES / 2, 2, SECTOR_BYTES, RECORD, 0xFF);
    keep_state();
    uint32_t next = 0;
    for (; next < state_count && state_count < state_limit; next++) {
        scripted = 0;
        do {
            choices = 0;
            take_state(&states[next]);
            session();
            keep_state();
            runs++;
        } while (next_script());
        if (next % 512 == 0) {
            fprintf(stderr, "\r%u of %u states, %llu sessions", next, state_count,
                    (unsigned long long)runs);
        }
    }
    fprintf(stderr, "\n");
    printf(
        "%u states, %u looked at, %llu sessions, %llu operations on flash, %llu cut; %s; nothing "
        "violated\n",
        state_count, next, (unsigned long long)runs, (unsigned long long)operations,
        (unsigned long long)cuts, next == state_count ? "no state is new" : "not all of them");
    return 0;
}

/* An attacker who has genuine headers, but may not command, wears the flash out no faster than four
 * installs a day do. */
static int headers(uint32_t times)
{
    enum { HEADERS_OF_A_DAY = 100 };
    uint64_t most = 0;
    pack_bytes = 4096;
    for (uint32_t i = 0; i < times; i++) {
        if (i % HEADERS_OF_A_DAY == 0) {
            new_flash(1024, 4, 1024, 4, 0xFF);
            boot();
            erasures = 0;
        }
        (void)begin(choose(PACKS));
        finish();
        if (choose(2) != 0) {
            uint32_t size = 32u * (1u + choose(64));
            if (slots.next + size <= MAX_PACK) {
                (void)tfin_slots_data(&slots, slots.next, packs[1] + slots.next, size);
            }
            finish();
        }
        most = most < erasures ? erasures : most;
    }
    printf("%u headers: at most %llu units erased in a day\n", times, (unsigned long long)most);
    return most > 4u * 4u + 4u;
}

static int factory = FACTORY; /* whose pack is in the image */

/* A boot of which nothing is certain. */
static int boot_anyhow(void)
{
    memset(&trust, 0, sizeof trust);
    memset(&sure, 0, sizeof sure);
    powered = 0;
    return tfin_slots_open(&slots, &map, &engine, NULL, 0, &trust, packs[factory], pack_bytes,
                           TFIN_CAUSE_POWER);
}

static void activate_and_boot(uint32_t place)
{
    require(obeyed(TFIN_SLOTS_ACTIVATE) != 0 && boot_anyhow() == TFIN_OK && slots.running == place,
            "a pack that was installed runs");
}

static void damage_byte(uint32_t place)
{
    flash[0][map.slot[place].address + HEADER + 1u] ^= 0x10u;
    flash[1][map.slot[place].address + HEADER + 1u] ^= 0x10u;
}

static void stage(int pack)
{
    install(pack, 1);
    require(tfin_slots_phase(&slots) == TFIN_PHASE_STAGED, "a damaged pack may come again");
}

/* The header of END has the bytes of that of BEGIN, but for its signature. */
static void forged_end(int pack)
{
    now_s += 86400;
    require(begin((uint32_t)pack) == TFIN_SLOTS_OK, "an install begins");
    finish();
    require(tfin_slots_data(&slots, slots.next, packs[pack] + slots.next,
                            size_of[pack] - slots.next) == TFIN_SLOTS_OK,
            "the next data is taken");
    finish();
    header[HEADER - 1] ^= 1u;
    (void)tfin_slots_end(&slots, header);
    finish();
    require(slots.result == TFIN_SLOTS_ENGINE && tfin_slots_phase(&slots) == TFIN_PHASE_NONE,
            "a signature that does not verify stages nothing");
}

/* A change, and boots that appended it, were all cut in their record. None of these reads right at
 * the next boot, which acts on what was before; then all of them read right. */
static void late_records(void)
{
    const tfin_journal *j = &slots.journal;
    uint8_t late[3][RECORD];
    tfin_journal_record r = j->now;
    uint32_t at = map.journal[j->sector].address + RECORDS_AT + j->used * (uint32_t)RECORD;
    if (at + 6u * RECORD > map.journal[j->sector].address + map.journal[j->sector].size) {
        return;
    }
    r.floor++;
    for (uint32_t i = 0; i < 3; i++) {
        r.sequence++;
        r.crc = tfin_crc32(0, &r, 28);
        memcpy(late[i], &r, RECORD);
        noise(flash[0] + at + i * RECORD, RECORD);
    }
    (void)boot_anyhow();
    memcpy(flash[0] + at, late, sizeof late);
    (void)boot_anyhow();
    require(j->now.floor == r.floor - 1u, "what a boot has acted on stays");
}

static int damage(void)
{
    static const struct {
        uint32_t erase, units, program;
    } shapes[] = {{256, 4, 2}, {4096, 1, 4}, {1024, 4, 8}, {256, 4, 32}, {4096, 1, 32}};
    pack_bytes = 800;
    for (uint32_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        for (int how = SOUND + 1; how < CONDITIONS; how++) {
            new_flash(shapes[i].erase, shapes[i].units, shapes[i].erase, shapes[i].program, 0xFF);
            for (int from = 0; from < 2; from++) {
                condition = from == 0 ? SOUND : how;
                operations_left = 2000;
                require(boot_anyhow() == TFIN_OK && slots.running == TFIN_SLOT_FACTORY,
                        "worn flash does not stop the pack of the image");
            }
            install(1, 1);
            require(tfin_slots_phase(&slots) != TFIN_PHASE_STAGED || slots.result != TFIN_SLOTS_OK,
                    "nothing is staged in flash that keeps nothing");
            condition = SOUND;
        }
        new_flash(shapes[i].erase, shapes[i].units, shapes[i].erase, shapes[i].program, 0xFF);
        (void)boot_anyhow();
        stage(1);
        activate_and_boot(0);
        damage_byte(0); /* in trial */
        require(boot_anyhow() == TFIN_OK && slots.running == TFIN_SLOT_FACTORY,
                "the pack before a damaged one runs");
        stage(1);
        activate_and_boot(0);
        require(obeyed(TFIN_SLOTS_ALIVE) && obeyed(TFIN_SLOTS_CONFIRM), "a trial ends");
        damage_byte(0); /* active, and that of the image is below the floor */
        require(boot_anyhow() == TFIN_E_ROLLBACK, "no pack below the floor runs");
        stage(1);
        activate_and_boot(1);
        require(obeyed(TFIN_SLOTS_REVERT) && boot_anyhow() == TFIN_E_ROLLBACK, "a trial ends");
        forged_end(2);
        stage(2);
        new_flash(shapes[i].erase, shapes[i].units, shapes[i].erase, shapes[i].program, 0xFF);
        (void)boot_anyhow();
        late_records();
        factory = 1; /* another image */
        require(boot_anyhow() == TFIN_OK && begin(1) == TFIN_SLOTS_HERE,
                "the pack of the image is here");
        stage(0);
        factory = FACTORY;
    }
    printf("nothing violated\n");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "damage") == 0) {
        return damage();
    }
    if (argc > 2 && strcmp(argv[1], "headers") == 0) {
        return headers((uint32_t)strtoul(argv[2], NULL, 10));
    }
    if (argc > 2 && (strcmp(argv[1], "walk") == 0 || strcmp(argv[1], "commands") == 0)) {
        commanding = strcmp(argv[1], "commands") == 0;
        renews = !commanding;
        random_state = argc > 3 ? strtoull(argv[3], NULL, 10) * 2u + 1u : 1u;
        walk(strtoull(argv[2], NULL, 10));
        return 0;
    }
    if (argc > 1 && (strcmp(argv[1], "all") == 0 || strcmp(argv[1], "plain") == 0)) {
        renews = strcmp(argv[1], "all") == 0;
        return all(argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 10000000u);
    }
    fprintf(stderr, "usage: powercut walk|commands STEPS [SEED] | all|plain [LIMIT] | headers "
                    "TIMES | damage\n");
    return 2;
}
