/* SPDX-License-Identifier: Apache-2.0 */
#ifdef TFIN_PORT_FLASH
#include "commands.h"

#include <stddef.h>
#include <string.h>

#include "bytes.h"

_Static_assert(sizeof(tfin_command) == 128 && sizeof(tfin_page) == 16, "as on the wire");

enum { DAY_S = 86400, NONCE_BYTES = 16 };

enum stage { CHECK, EFFECT, ANSWER };

void tfin_commands_open(tfin_commands *c, tfin_slots *slots, const tfin_effects *effects,
                        uint32_t boot_nonce)
{
    memset(c, 0, sizeof *c);
    c->slots = slots;
    c->effects = effects;
    c->boot_nonce = boot_nonce;
}

__attribute__((noinline)) int tfin_commands_nonce(const tfin_commands *c,
                                                  uint8_t nonce[NONCE_BYTES])
{
    uint8_t message[5 + 4 + 4] = "nonce";
    memset(nonce, 0, NONCE_BYTES);
    memcpy(message + 5, &c->slots->journal.now.sequence, 4);
    memcpy(message + 9, &c->boot_nonce, 4);
    return tfin_keys_mac(&c->slots->journal, TFIN_SECRET_REPORT, message, sizeof message, nonce,
                         NONCE_BYTES);
}

/* -------------------------------------------------------------------------------------- checks */

static int names_pack(uint32_t opcode)
{
    return (opcode >= TFIN_OP_ACTIVATE && opcode <= TFIN_OP_ABORT) || opcode == TFIN_OP_STAGE ||
           opcode == TFIN_OP_TRY;
}

static int has_value(uint32_t opcode)
{
    return opcode >= TFIN_OP_RAISE_FLOOR && opcode <= TFIN_OP_SET_TIME;
}

/* Every byte that says nothing is zero, and what says something is not, so that one command has one
 * form. */
static int command_is_formed(const tfin_command *m)
{
    return m->magic == TFIN_COMMAND_MAGIC && m->broadcast <= 1u && m->zero == 0 && m->spare == 0 &&
           (m->broadcast ? tfin_is_zero(m->terminal, sizeof m->terminal + sizeof m->nonce)
                         : m->counter == 0) &&
           names_pack(m->opcode) != tfin_is_zero(m->pack, sizeof m->pack) &&
           has_value(m->opcode) != tfin_is_zero(m->value, sizeof m->value);
}

static uint32_t signed_bytes(const tfin_page *page)
{
    return (uint32_t)sizeof *page + page->count * (uint32_t)TFIN_PAGE_NOTICE_BYTES;
}

static int page_is_formed(const tfin_page *page, uint32_t size)
{
    if (size < sizeof *page || page->magic != TFIN_PAGE_MAGIC || page->count == 0 ||
        size != signed_bytes(page) + TFIN_SIGNATURE_BYTES) {
        return 0;
    }
    const uint8_t *fraud = (const uint8_t *)page + sizeof *page - 1u;
    for (uint32_t i = 0; i < page->count; i++) {
        fraud += TFIN_PAGE_NOTICE_BYTES;
        if (*fraud > 1u) {
            return 0;
        }
    }
    return 1;
}

static int is_formed(enum tfin_command_kind kind, const void *m, uint32_t size)
{
    switch (kind) {
    case TFIN_COMMAND: return size == sizeof(tfin_command) && command_is_formed(m);
    case TFIN_NEW_KEYS: return size == sizeof(tfin_manifest);
    case TFIN_NEW_IDENTITY: return size == sizeof(tfin_new_identity) && !tfin_is_zero(m, 8);
    default: return page_is_formed(m, size);
    }
}

static int is_for_this(const tfin_commands *c, const uint8_t *id)
{
    uint8_t own[8];
    if (!tfin_keys_id(&c->slots->journal, own)) {
        return TFIN_COMMANDS_IDENTITY;
    }
    return memcmp(own, id, sizeof own) == 0 ? TFIN_SLOTS_OK : TFIN_COMMANDS_TERMINAL;
}

/* For whom it is, and that it was not done before. */
static int check_command(const tfin_commands *c, const tfin_command *m)
{
    uint8_t nonce[NONCE_BYTES];
    if (m->broadcast) {
        return m->counter > c->slots->journal.now.commands ? TFIN_SLOTS_OK : TFIN_COMMANDS_COUNTER;
    }
    int rc = is_for_this(c, m->terminal);
    if (rc == TFIN_SLOTS_OK &&
        (!tfin_commands_nonce(c, nonce) || memcmp(nonce, m->nonce, sizeof nonce) != 0)) {
        rc = TFIN_COMMANDS_NONCE;
    }
    return rc;
}

static int check_page(const tfin_commands *c, const tfin_page *page)
{
    int rc = is_for_this(c, page->terminal);
    if (rc == TFIN_SLOTS_OK && page->number != c->slots->journal.now.notices + 1u) {
        rc = TFIN_COMMANDS_COUNTER;
    }
    return rc;
}

static int is_here(const tfin_manifest *here, const tfin_manifest *m)
{
    return here != NULL && memcmp(here, m, sizeof *m) == 0;
}

static int check_manifest(const tfin_commands *c, const tfin_manifest *m)
{
    const tfin_manifest *here = tfin_keys_manifest(&c->slots->journal);
    if (!tfin_keys_is_manifest(m)) {
        return TFIN_COMMANDS_KEY;
    }
    uint32_t version = here != NULL ? here->version : 0;
    return m->version > version || is_here(here, m) ? TFIN_SLOTS_OK : TFIN_COMMANDS_VERSION;
}

/* ------------------------------------------------------------------------------------- effects */

/* Above 0: the flash of the state log does not take it. */
static int of_engine(const tfin_commands *c, int rc)
{
    c->slots->engine_error = (int8_t)rc;
    return rc == TFIN_OK ? TFIN_SLOTS_OK : rc < 0 ? TFIN_SLOTS_ENGINE : TFIN_SLOTS_FLASH;
}

/* What becomes of a pack is one record, which uses the counter up too. */
static int command_slots(tfin_commands *c, const tfin_command *m)
{
    tfin_journal_record *now = &c->slots->journal.now;
    uint32_t before = now->commands;
    if (!tfin_slots_other_is(c->slots, m->pack)) {
        return TFIN_COMMANDS_PACK;
    }
    if (m->broadcast) {
        now->commands = m->counter;
    }
    int which = m->opcode == TFIN_OP_TRY ? TFIN_SLOTS_TRY
                                         : m->opcode - TFIN_OP_ACTIVATE + TFIN_SLOTS_ACTIVATE;
    int rc = m->opcode == TFIN_OP_STAGE
                 ? tfin_slots_allow(c->slots)
                 : tfin_slots_command(c->slots, (enum tfin_slots_command)which);
    if (rc != TFIN_SLOTS_OK) {
        now->commands = before;
    }
    return rc;
}

static int may_be_done(const tfin_commands *c, const tfin_command *m)
{
    const tfin_slots *s = c->slots;
    if (m->broadcast && m->opcode != TFIN_OP_ACTIVATE && m->opcode != TFIN_OP_ABORT &&
        m->opcode != TFIN_OP_TRY && m->opcode != TFIN_OP_RAISE_FLOOR) {
        return 0;
    }
    switch (m->opcode) {
    case TFIN_OP_RAISE_FLOOR: /* no trial may end with a pack below the floor */
        return s->running == tfin_slots_active(s) && m->value[1] == 0 && m->value[0] <= s->counter;
    case TFIN_OP_SET_TIME:
        return m->value[1] == 0 && m->value[0] != UINT32_MAX &&
               m->value[0] / DAY_S >= s->journal.now.day;
    case TFIN_OP_REBOOT: return c->effects->can_reboot();
    default: return m->opcode != 0 && m->opcode <= TFIN_OP_TRY;
    }
}

/* Nonce or counter are used up. */
static int begin_command(tfin_commands *c, const tfin_command *m)
{
    tfin_journal_record *now = &c->slots->journal.now;
    if (!may_be_done(c, m)) {
        return TFIN_COMMANDS_VALUE;
    }
    if (names_pack(m->opcode)) {
        return command_slots(c, m);
    }
    c->stage = EFFECT;
    if (m->broadcast) {
        now->commands = m->counter;
    }
    if (m->opcode == TFIN_OP_RAISE_FLOOR && m->value[0] > now->floor) {
        now->floor = m->value[0];
    } else if (m->opcode == TFIN_OP_SET_TIME) {
        tfin_slots_set_day(c->slots, (uint16_t)(m->value[0] / DAY_S));
    }
    return tfin_slots_record(c->slots);
}

static int finish_command(tfin_commands *c, const tfin_command *m)
{
    switch (m->opcode) {
    case TFIN_OP_ERASE_CARD:
        return of_engine(c, c->effects->erase_card(m->value[0] | (uint64_t)m->value[1] << 32));
    case TFIN_OP_SET_TIME: return of_engine(c, c->effects->set_time(m->value[0]));
    case TFIN_OP_ERASE_STATE: return of_engine(c, c->effects->erase_state());
    case TFIN_OP_REBOOT: c->reboot = 1; return TFIN_SLOTS_OK;
    default: return TFIN_SLOTS_OK;
    }
}

static int apply_notices(tfin_commands *c, const tfin_page *page)
{
    const uint8_t *at = (const uint8_t *)page + sizeof *page;
    tfin_reader r = {at, (const uint8_t *)page + signed_bytes(page), 0};
    while (tfin_left(&r) != 0) {
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
    c->slots->journal.now.notices = page->number;
    return tfin_slots_record(c->slots);
}

/* --------------------------------------------------------------------------------------- steps */

enum { BEGUN = -1 };

static int begun(int rc)
{
    return rc == TFIN_SLOTS_OK ? BEGUN : rc;
}

/* Whose signature it needs, and over how much; null without such a key. */
static const uint8_t *signer_of(const tfin_commands *c, uint32_t *size)
{
    const tfin_command *m = c->work;
    const tfin_page *page = c->work;
    uint32_t number = m->key;
    *size = offsetof(tfin_command, signature);
    if (c->kind == TFIN_NEW_KEYS) {
        *size = offsetof(tfin_manifest, signature);
        return tinyfin_root_key;
    }
    if (c->kind == TFIN_NOTICES) {
        *size = signed_bytes(page);
        number = page->key;
    }
    return tfin_keys_command(&c->slots->journal, number);
}

static int check_kind(const tfin_commands *c)
{
    return c->kind == TFIN_COMMAND    ? check_command(c, c->work)
           : c->kind == TFIN_NEW_KEYS ? check_manifest(c, c->work)
                                      : check_page(c, c->work);
}

static void feed(const tfin_commands *c)
{
    const tfin_trust *trust = c->slots->trust;
    if (trust->progress != NULL) {
        trust->progress(trust->progress_context);
    }
}

/* BEGUN, or the result. */
static int check(tfin_commands *c)
{
    const tfin_journal *j = &c->slots->journal;
    const uint8_t *message = c->work;
    uint32_t size;
    uint8_t id[8];
    c->stage = ANSWER;
    if (c->kind == TFIN_NEW_IDENTITY) {
        return tfin_keys_id(j, id)
                   ? TFIN_COMMANDS_IDENTITY
                   : begun(tfin_slots_renew(c->slots, tfin_keys_set_identity, message));
    }
    const uint8_t *key = signer_of(c, &size);
    int rc = key == NULL ? TFIN_COMMANDS_KEY : check_kind(c);
    if (rc != TFIN_SLOTS_OK) {
        return rc;
    }
    feed(c);
    volatile uint32_t proof = tfin_port_verify(message + size, key, message, size);
    feed(c);
    /* both twice: an instruction may be skipped */
    if (proof != TFIN_PORT_VERIFIED || proof != TFIN_PORT_VERIFIED) {
        return TFIN_COMMANDS_SIGNATURE;
    }
    rc = check_kind(c);
    if (rc != TFIN_SLOTS_OK) {
        return rc;
    }
    switch (c->kind) {
    case TFIN_COMMAND: return begun(begin_command(c, c->work));
    case TFIN_NOTICES: return begun(apply_notices(c, c->work));
    default:
        return is_here(tfin_keys_manifest(j), c->work)
                   ? TFIN_SLOTS_OK
                   : begun(tfin_slots_renew(c->slots, tfin_keys_set_manifest, message));
    }
}

int tfin_commands_take(tfin_commands *c, enum tfin_command_kind kind, const void *payload,
                       uint32_t size)
{
    if (!is_formed(kind, payload, size)) {
        return -1;
    }
    if (tfin_commands_busy(c) || tfin_slots_busy(c->slots)) {
        return TFIN_SLOTS_BUSY;
    }
    c->work = payload;
    c->kind = (uint8_t)kind;
    c->stage = CHECK;
    return TFIN_SLOTS_OK;
}

int tfin_commands_step(tfin_commands *c)
{
    int rc = c->slots->result; /* of the journal */
    if (c->stage == CHECK) {
        rc = check(c);
        if (rc == BEGUN) {
            return BEGUN;
        }
    } else if (rc == TFIN_SLOTS_OK && c->stage == EFFECT) {
        rc = finish_command(c, c->work);
    }
    if (rc == TFIN_SLOTS_OK) {
        c->effects->obeyed((enum tfin_command_kind)c->kind, c->work);
    }
    c->work = NULL;
    return rc;
}

#endif
