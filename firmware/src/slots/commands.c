/* SPDX-License-Identifier: Apache-2.0 */
#ifdef TFIN_PORT_FLASH
#include "commands.h"

#include <string.h>

#include "bytes.h"

/* of a command */
enum { COMMAND_MAGIC = 0x4D434654, AT_OPCODE = 4, AT_FLAGS = 5, AT_KEY = 6, AT_TERMINAL = 8 };
enum { AT_NONCE = 16, AT_COUNTER = 32, AT_PACK = 36, AT_VALUE = 52, AT_SPARE = 60 };
enum { SIGNED_BYTES = 64, SIGNATURE_BYTES = 64, COMMAND_BYTES = SIGNED_BYTES + SIGNATURE_BYTES };
enum { BROADCAST = 1, ID_BYTES = 8, NONCE_BYTES = 16, PACK_BYTES = 16, DAY_S = 86400 };
/* of a page of notices */
enum { NOTICES_MAGIC = 0x544E4654, AT_COUNT = 4, AT_NOTICES_KEY = 5, AT_NUMBER = 6 };
enum { AT_NOTICES = 16, NOTICE_BYTES = 21 };
enum { AT_ROOT_SIGNATURE = 160 };

enum stage { CHECK, EFFECT, ANSWER };

static uint64_t number_at(const uint8_t *p, uint32_t bytes)
{
    tfin_reader r = {p, p + bytes, 0};
    return tfin_get(&r, bytes);
}

static int is_zero(const uint8_t *bytes, uint32_t size)
{
    while (size-- != 0) {
        if (bytes[size] != 0) {
            return 0;
        }
    }
    return 1;
}

void tfin_commands_open(tfin_commands *c, tfin_slots *slots, const tfin_effects *effects,
                        const uint8_t *root, uint32_t boot_nonce)
{
    memset(c, 0, sizeof *c);
    c->slots = slots;
    c->effects = effects;
    c->root = root;
    c->boot_nonce = boot_nonce;
}

__attribute__((noinline)) int tfin_commands_nonce(const tfin_commands *c,
                                                  uint8_t nonce[NONCE_BYTES])
{
    uint8_t message[5 + 4 + 4] = "nonce";
    uint8_t mac[32];
    tfin_port_hash hash;
    memset(nonce, 0, NONCE_BYTES);
    if (!tfin_keys_mac_begin(&c->slots->journal, TFIN_SECRET_REPORT, &hash)) {
        return 0;
    }
    tfin_writer w = {message + 5, message + sizeof message, 0};
    tfin_put(&w, c->slots->journal.now.sequence, 4);
    tfin_put(&w, c->boot_nonce, 4);
    tfin_port_hash_update(&hash, message, sizeof message);
    tfin_port_hash_end(&hash, mac);
    memcpy(nonce, mac, NONCE_BYTES);
    return 1;
}

/* ---------------------------------------------------------------------------------------- checks
 */

static int names_pack(uint32_t opcode)
{
    return (opcode >= TFIN_OP_ACTIVATE && opcode <= TFIN_OP_ABORT) || opcode == TFIN_OP_STAGE;
}

static int has_value(uint32_t opcode)
{
    return opcode >= TFIN_OP_RAISE_FLOOR && opcode <= TFIN_OP_SET_TIME;
}

/* Every byte that says nothing is zero, so that one command has one form. */
static int command_is_formed(const uint8_t *m, uint32_t size)
{
    return size == COMMAND_BYTES && number_at(m, 4) == COMMAND_MAGIC && m[AT_FLAGS] <= BROADCAST &&
           m[AT_KEY + 1] == 0 && is_zero(m + AT_SPARE, SIGNED_BYTES - AT_SPARE) &&
           (m[AT_FLAGS] == BROADCAST ? is_zero(m + AT_TERMINAL, ID_BYTES + NONCE_BYTES)
                                     : is_zero(m + AT_COUNTER, 4)) &&
           (names_pack(m[AT_OPCODE]) || is_zero(m + AT_PACK, PACK_BYTES)) &&
           (has_value(m[AT_OPCODE]) || is_zero(m + AT_VALUE, AT_SPARE - AT_VALUE));
}

static int is_formed(enum tfin_command_kind kind, const uint8_t *m, uint32_t size)
{
    switch (kind) {
    case TFIN_COMMAND: return command_is_formed(m, size);
    case TFIN_NEW_KEYS: return size == TFIN_MANIFEST_BYTES;
    case TFIN_NEW_IDENTITY: return size == TFIN_IDENTITY_BYTES && !is_zero(m, ID_BYTES);
    default:
        return size > AT_NOTICES + SIGNATURE_BYTES && number_at(m, 4) == NOTICES_MAGIC &&
               m[AT_COUNT] != 0 &&
               size == AT_NOTICES + m[AT_COUNT] * (uint32_t)NOTICE_BYTES + SIGNATURE_BYTES;
    }
}

static int is_for_this(const tfin_commands *c, const uint8_t *id)
{
    uint8_t own[ID_BYTES];
    if (!tfin_keys_id(&c->slots->journal, own)) {
        return TFIN_COMMANDS_IDENTITY;
    }
    return memcmp(own, id, ID_BYTES) == 0 ? TFIN_SLOTS_OK : TFIN_COMMANDS_TERMINAL;
}

/* For whom it is, and that it was not done before. */
static int check_command(const tfin_commands *c)
{
    const uint8_t *m = c->work;
    uint8_t nonce[NONCE_BYTES];
    if (m[AT_FLAGS] == BROADCAST) {
        return number_at(m + AT_COUNTER, 4) > c->slots->journal.now.commands
                   ? TFIN_SLOTS_OK
                   : TFIN_COMMANDS_COUNTER;
    }
    int rc = is_for_this(c, m + AT_TERMINAL);
    if (rc == TFIN_SLOTS_OK &&
        (!tfin_commands_nonce(c, nonce) || memcmp(nonce, m + AT_NONCE, sizeof nonce) != 0)) {
        rc = TFIN_COMMANDS_NONCE;
    }
    return rc;
}

static int check_notices(const tfin_commands *c)
{
    int rc = is_for_this(c, c->work + AT_TERMINAL);
    if (rc == TFIN_SLOTS_OK && number_at(c->work + AT_NUMBER, 2) <= c->slots->journal.now.notices) {
        rc = TFIN_COMMANDS_COUNTER;
    }
    return rc;
}

static int check_keys(const tfin_commands *c)
{
    const tfin_journal *j = &c->slots->journal;
    if (!tfin_keys_is_manifest(c->work)) {
        return TFIN_COMMANDS_KEY;
    }
    return tfin_keys_version_of(c->work) > tfin_keys_version(j) || tfin_keys_is_here(j, c->work)
               ? TFIN_SLOTS_OK
               : TFIN_COMMANDS_VERSION;
}

/* ---------------------------------------------------------------------------------------- effects
 */

/* Above 0: the flash of the state log does not take it. */
static int of_engine(tfin_commands *c, int rc)
{
    c->engine_error = (int8_t)rc;
    return rc == TFIN_OK ? TFIN_SLOTS_OK : rc < 0 ? TFIN_SLOTS_ENGINE : TFIN_SLOTS_FLASH;
}

/* What becomes of a pack is one record, which uses the counter up too. */
static int command_slots(tfin_commands *c, enum tfin_slots_command command)
{
    tfin_journal_record *now = &c->slots->journal.now;
    const uint8_t *m = c->work;
    uint32_t before = now->commands;
    if (!tfin_slots_other_is(c->slots, m + AT_PACK)) {
        return TFIN_COMMANDS_PACK;
    }
    if (m[AT_FLAGS] == BROADCAST) {
        now->commands = (uint32_t)number_at(m + AT_COUNTER, 4);
    }
    int rc = m[AT_OPCODE] == TFIN_OP_STAGE ? tfin_slots_allow(c->slots)
                                           : tfin_slots_command(c->slots, command);
    if (rc != TFIN_SLOTS_OK) {
        now->commands = before;
    }
    return rc;
}

static int may_be_done(const tfin_commands *c, uint32_t opcode, uint64_t value)
{
    const tfin_slots *s = c->slots;
    int broadcast = c->work[AT_FLAGS] == BROADCAST;
    switch (opcode) {
    case TFIN_OP_ACTIVATE:
    case TFIN_OP_ABORT: return 1;
    case TFIN_OP_RAISE_FLOOR: return value > s->journal.now.floor && value <= s->counter;
    case TFIN_OP_SET_TIME:
        return !broadcast && value < UINT32_MAX && value / DAY_S >= s->journal.now.day;
    case TFIN_OP_REBOOT: return !broadcast && c->effects->can_reboot();
    default: return !broadcast && opcode >= TFIN_OP_ACTIVATE && opcode <= TFIN_OP_ERASE_STATE;
    }
}

/* Nonce or counter are used up. */
static int begin_command(tfin_commands *c)
{
    const uint8_t *m = c->work;
    tfin_journal_record *now = &c->slots->journal.now;
    uint32_t opcode = m[AT_OPCODE];
    uint64_t value = number_at(m + AT_VALUE, 8);
    if (!may_be_done(c, opcode, value)) {
        return TFIN_COMMANDS_VALUE;
    }
    if (names_pack(opcode)) {
        c->stage = ANSWER;
        return command_slots(c, (enum tfin_slots_command)(opcode - TFIN_OP_ACTIVATE));
    }
    if (m[AT_FLAGS] == BROADCAST) {
        now->commands = (uint32_t)number_at(m + AT_COUNTER, 4);
    }
    if (opcode == TFIN_OP_RAISE_FLOOR) {
        now->floor = (uint32_t)value;
    } else if (opcode == TFIN_OP_SET_TIME) {
        tfin_slots_set_day(c->slots, (uint16_t)(value / DAY_S));
    }
    return tfin_slots_record(c->slots);
}

static int finish_command(tfin_commands *c)
{
    uint64_t value = number_at(c->work + AT_VALUE, 8);
    switch (c->work[AT_OPCODE]) {
    case TFIN_OP_ERASE_CARD: return of_engine(c, c->effects->erase_card(value));
    case TFIN_OP_SET_TIME: return of_engine(c, c->effects->set_time((uint32_t)value));
    case TFIN_OP_ERASE_STATE: return of_engine(c, c->effects->erase_state());
    case TFIN_OP_REBOOT: c->reboot = 1; return TFIN_SLOTS_OK;
    default: return TFIN_SLOTS_OK;
    }
}

static int apply_notices(tfin_commands *c)
{
    for (uint32_t i = 0; i < c->work[AT_COUNT]; i++) {
        const uint8_t *at = c->work + AT_NOTICES + i * NOTICE_BYTES;
        tfin_reader r = {at, at + NOTICE_BYTES, 0};
        tfin_notice notice = {0};
        notice.id = tfin_get(&r, 8);
        notice.token = tfin_get(&r, 8);
        notice.t_tx_mono_s = (uint32_t)tfin_get(&r, 4);
        notice.fraud = (uint8_t)tfin_get(&r, 1);
        int rc = c->effects->apply_notice(&notice);
        if (rc != TFIN_OK) {
            return of_engine(c, rc);
        }
    }
    c->slots->journal.now.notices = (uint16_t)number_at(c->work + AT_NUMBER, 2);
    return tfin_slots_record(c->slots);
}

/* ---------------------------------------------------------------------------------------- steps */

static uint32_t verified(const tfin_commands *c, const uint8_t *key, uint32_t size)
{
    return tfin_port_verify(c->work + c->size - SIGNATURE_BYTES, key, c->work, size);
}

enum { BEGUN = -1 };

static int begun(int rc)
{
    return rc == TFIN_SLOTS_OK ? BEGUN : rc;
}

/* BEGUN, or the result. */
static int check(tfin_commands *c)
{
    tfin_journal *j = &c->slots->journal;
    const uint8_t *key = c->root;
    uint32_t size = AT_ROOT_SIGNATURE;
    int rc;
    if (c->kind == TFIN_NEW_IDENTITY) {
        uint8_t id[ID_BYTES];
        c->stage = ANSWER;
        return tfin_keys_id(j, id)
                   ? TFIN_COMMANDS_IDENTITY
                   : begun(tfin_slots_renew(c->slots, tfin_keys_set_identity, c->work));
    }
    if (c->kind == TFIN_NEW_KEYS) {
        rc = check_keys(c);
    } else {
        size = c->size - (uint32_t)SIGNATURE_BYTES;
        key = tfin_keys_command(j, c->root,
                                c->work[c->kind == TFIN_COMMAND ? AT_KEY : AT_NOTICES_KEY]);
        if (key == NULL) {
            return TFIN_COMMANDS_KEY;
        }
        rc = c->kind == TFIN_COMMAND ? check_command(c) : check_notices(c);
    }
    if (rc != TFIN_SLOTS_OK) {
        return rc;
    }
    volatile uint32_t proof = verified(c, key, size);
    if (proof != TFIN_PORT_VERIFIED) {
        return TFIN_COMMANDS_SIGNATURE;
    }
    c->stage = EFFECT;
    if (c->kind != TFIN_COMMAND) {
        c->stage = ANSWER;
    }
    if (proof != TFIN_PORT_VERIFIED) { /* an instruction was skipped */
        return TFIN_COMMANDS_SIGNATURE;
    }
    switch (c->kind) {
    case TFIN_NEW_KEYS:
        return tfin_keys_is_here(j, c->work)
                   ? TFIN_SLOTS_OK
                   : begun(tfin_slots_renew(c->slots, tfin_keys_set_manifest, c->work));
    case TFIN_NOTICES: return begun(apply_notices(c));
    default: return begun(begin_command(c));
    }
}

int tfin_commands_take(tfin_commands *c, enum tfin_command_kind kind, const uint8_t *payload,
                       uint32_t size)
{
    if (!is_formed(kind, payload, size)) {
        return -1;
    }
    if (tfin_commands_busy(c) || tfin_slots_busy(c->slots)) {
        return TFIN_SLOTS_BUSY;
    }
    c->work = payload;
    c->size = (uint16_t)size;
    c->kind = (uint8_t)kind;
    c->stage = CHECK;
    c->engine_error = 0;
    return TFIN_SLOTS_OK;
}

int tfin_commands_step(tfin_commands *c)
{
    int rc;
    if (c->stage == CHECK) {
        rc = check(c);
        if (rc == BEGUN) {
            return BEGUN;
        }
    } else {
        rc = c->slots->result; /* of the journal */
        if (rc == TFIN_SLOTS_OK && c->stage == EFFECT) {
            rc = finish_command(c);
        }
    }
    if (rc == TFIN_SLOTS_OK) {
        c->effects->obeyed((enum tfin_command_kind)c->kind, c->work);
    }
    c->work = NULL;
    return rc;
}

#endif
