/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A terminal that is asked for what it must not do, for an emulator that skips an instruction on
 * the way: see tests/engine/test_glitch_commands.py. Linked with --wrap=crypto_eddsa_check, whose
 * answer is glitch_signature.
 */
#include <stddef.h>
#include <string.h>

#include "commands.h"

/* In flash, so that a fault that wipes memory does not change what is asked. */
const volatile int glitch_signature = -1;    /* 0 good, -1 bad */
const volatile uint32_t glitch_asked = 0;    /* what for */
const volatile uint32_t glitch_replayed = 0; /* 1: it was done before */

enum { RAISE_FLOOR, ERASE_CARD, ACTIVATE, KEYS, NOTICES };
enum { ERASE = 512, PROGRAM = 8, FLOOR = 7, TOKEN = 0x1234, TO_ID = 160, ID_BYTES = 16 };
enum { TAKEN = 0, REFUSED = 1 };

const uint8_t tinyfin_root_key[TFIN_KEY_BYTES] = {1};

static uint8_t flash[4 * ERASE] __attribute__((aligned(16)));
static tfin_slots slots;
static tfin_trust trust;
static tfin_commands commands;
static uint32_t message[64];
static uint32_t message_size;
static enum tfin_command_kind kind;
static uint32_t effects_seen;

int __wrap_crypto_eddsa_check(const uint8_t signature[64], const uint8_t public_key[32],
                              const uint8_t *text, size_t size);
void glitch_begin(void);
int glitch_run(void);

int __wrap_crypto_eddsa_check(const uint8_t signature[64], const uint8_t public_key[32],
                              const uint8_t *text, size_t size)
{
    (void)signature, (void)public_key, (void)text, (void)size;
    return glitch_signature;
}

static const tfin_flash_map map = {
    .slot = {{0, ERASE, ERASE}, {ERASE, ERASE, ERASE}},
    .journal = {{2 * ERASE, ERASE, ERASE}, {3 * ERASE, ERASE, ERASE}},
    .program_bytes = PROGRAM,
    .erased = 0xFF,
};

const tfin_flash_map *tfin_port_flash_map(void)
{
    return &map;
}

const void *tfin_port_flash_at(uint32_t address)
{
    return flash + address;
}

int tfin_port_flash_read(uint32_t address, void *out, uint32_t size)
{
    if ((uintptr_t)out - (uintptr_t)flash < sizeof flash) {
        return 0; /* no store changes what is in flash */
    }
    memcpy(out, flash + address, size);
    return 1;
}

int tfin_port_flash_program(uint32_t address, const void *data)
{
    memcpy(flash + address, data, PROGRAM);
    return 1;
}

int tfin_port_flash_erase(uint32_t address)
{
    memset(flash + address, 0xFF, ERASE);
    return 1;
}

static int erase_card(uint64_t token)
{
    effects_seen += token == TOKEN;
    return TFIN_OK;
}

static int set_time(uint32_t t_mono_s)
{
    (void)t_mono_s;
    return TFIN_OK;
}

static int erase_state(void)
{
    return TFIN_OK;
}

static int apply_notice(tfin_notice *notice)
{
    (void)notice;
    effects_seen++;
    return TFIN_OK;
}

static int can_reboot(void)
{
    return 1;
}

static void obeyed(enum tfin_command_kind what, const uint8_t *payload)
{
    (void)what, (void)payload;
}

static void finish(void)
{
    while (tfin_slots_step(&slots)) {
    }
}

static void make_command(void)
{
    tfin_command *m = (tfin_command *)message;
    message_size = sizeof *m;
    m->magic = TFIN_COMMAND_MAGIC;
    m->opcode = TFIN_OP_RAISE_FLOOR;
    if (glitch_asked == RAISE_FLOOR) {
        m->broadcast = 1;
        m->counter = glitch_replayed ? 5 : 6;
        m->value[0] = FLOOR;
        return;
    }
    m->terminal[0] = 1;
    (void)tfin_commands_nonce(&commands, m->nonce);
    m->nonce[3] ^= (uint8_t)glitch_replayed;
    if (glitch_asked == ERASE_CARD) {
        m->opcode = TFIN_OP_ERASE_CARD;
        m->value[0] = TOKEN;
        return;
    }
    tfin_port_hash hash;
    uint8_t id[32];
    m->opcode = TFIN_OP_ACTIVATE;
    tfin_port_hash_begin(&hash);
    tfin_port_hash_update(&hash, flash, TO_ID);
    tfin_port_hash_end(&hash, id);
    memcpy(m->pack, id, sizeof m->pack);
    memcpy(slots.journal.now.other, id, sizeof slots.journal.now.other);
}

static void make_manifest(uint16_t version)
{
    tfin_manifest *m = (tfin_manifest *)message;
    message_size = sizeof *m;
    memset(m, 0, sizeof *m);
    m->magic = TFIN_MANIFEST_MAGIC;
    m->version = version;
    m->release_keys = m->command_keys = 1;
    m->root[0] = 1;
    m->release[0][0] = 2;
    m->command[0][0] = 3;
    uint32_t crc = tfin_crc32(0, m, offsetof(tfin_manifest, crc));
    m->crc = tfin_crc32(crc, m->release,
                        offsetof(tfin_manifest, signature) - offsetof(tfin_manifest, release));
}

static void make_page(void)
{
    tfin_page *page = (tfin_page *)message;
    page->magic = TFIN_PAGE_MAGIC;
    page->count = 1;
    page->number = glitch_replayed ? 3 : 4;
    page->terminal[0] = 1;
    message_size = sizeof *page + TFIN_PAGE_NOTICE_BYTES + TFIN_SIGNATURE_BYTES;
}

/* A terminal with an id and a pack that waits for its activation; and what is asked of it. */
void glitch_begin(void)
{
    static const tfin_effects effects = {erase_card,   set_time,   erase_state,
                                         apply_notice, can_reboot, obeyed};
    static const uint8_t identity[sizeof(tfin_new_identity)] = {1};
    memset(flash, 0xFF, sizeof flash);
    slots.trust = &trust;
    slots.counter = FLOOR;
    slots.running = TFIN_SLOT_FACTORY;
    tfin_journal_open(&slots.journal, &map);
    slots.journal.now = (tfin_journal_record){.floor = 1, .commands = 5, .notices = 3};
    slots.journal.now.places =
        (uint8_t)(TFIN_SLOT_FACTORY | 0u << 2 | (uint32_t)TFIN_PHASE_STAGED << 4);
    (void)tfin_slots_renew(&slots, tfin_keys_set_identity, identity);
    finish();
    if (glitch_asked == KEYS && glitch_replayed) {
        make_manifest(5);
        (void)tfin_slots_renew(&slots, tfin_keys_set_manifest, message);
        finish();
    }
    tfin_commands_open(&commands, &slots, &effects, 1);
    kind = glitch_asked == KEYS      ? TFIN_NEW_KEYS
           : glitch_asked == NOTICES ? TFIN_NOTICES
                                     : TFIN_COMMAND;
    if (kind == TFIN_NEW_KEYS) {
        make_manifest(4);
    } else if (kind == TFIN_NOTICES) {
        make_page();
    } else {
        make_command();
    }
}

/* Whether it is done. */
int glitch_run(void)
{
    if (tfin_commands_take(&commands, kind, message, message_size) == TFIN_SLOTS_OK) {
        int rc;
        do {
            finish();
            rc = tfin_commands_step(&commands);
        } while (rc == -1);
    }
    const tfin_manifest *keys = tfin_keys_manifest(&slots.journal);
    switch (glitch_asked) {
    case RAISE_FLOOR: return slots.journal.now.floor == FLOOR ? TAKEN : REFUSED;
    case ACTIVATE: return tfin_slots_phase(&slots) > TFIN_PHASE_STAGED ? TAKEN : REFUSED;
    case KEYS: return keys != NULL && keys->version == 4 ? TAKEN : REFUSED;
    default: return effects_seen != 0 ? TAKEN : REFUSED;
    }
}
