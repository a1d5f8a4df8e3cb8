/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a terminal in service obeys, signed and done once: commands, pages of notices, key
 * manifests; and its identity, once, in the factory. Guide: docs/field.md. Formats:
 * docs/formats/commands.md, notices.md, keys.md.
 *
 *     tfin_commands_take()     a payload as it came; it stays where it is until it is done
 *     tfin_commands_step()     the check of the signature, then what is asked
 *
 * A command to one terminal holds the nonce that tfin_commands_nonce gave, which every change of
 * the journal makes void. A broadcast holds a counter above that of the one before it. Nonce or
 * counter are used up in the journal before anything is done, so no command is done twice; a cut
 * in between loses it, and the host asks again with a new one. A page of notices is applied first:
 * the same notice twice changes no label, only the engine's counters of notices (but for one of a
 * transaction in the terminal's future, which counts as of now).
 *
 * A check of a signature takes the time that docs/benchmarks.md gives, and scoring waits for it. It
 * comes last of all checks but those of what is asked; the progress function of tfin_trust is
 * called right before and right after it.
 */
#ifndef TFIN_COMMANDS_H
#define TFIN_COMMANDS_H

#include "keys.h"
#include "slots.h"

enum tfin_command_kind { TFIN_COMMAND, TFIN_NEW_KEYS, TFIN_NEW_IDENTITY, TFIN_NOTICES };

enum tfin_opcode {
    TFIN_OP_ACTIVATE = 1, /* this and the next three name a pack */
    TFIN_OP_CONFIRM,
    TFIN_OP_REVERT,
    TFIN_OP_ABORT,
    TFIN_OP_RAISE_FLOOR, /* value: at most the security counter of the active pack, which runs */
    TFIN_OP_ERASE_CARD,  /* value: its token */
    TFIN_OP_SET_TIME,    /* value: t_mono_s, not of a day before the journal's; before the
                          * engine's clock the state begins cold */
    TFIN_OP_STAGE,       /* names a pack that was given up: it may be installed again */
    TFIN_OP_REBOOT,
    TFIN_OP_ERASE_STATE,
    TFIN_OP_TRY /* names a pack: on trial, without a shadow or with no more of it */
};

/* What an opcode does not use is zero. */
typedef struct __attribute__((may_alias)) tfin_command {
    uint32_t magic;    /* TFIN_COMMAND_MAGIC */
    uint8_t opcode;    /* enum tfin_opcode */
    uint8_t broadcast; /* 1: to all terminals; then a counter, but no terminal and no nonce */
    uint8_t key;       /* which command key signed it */
    uint8_t zero;
    uint8_t terminal[8];
    uint8_t nonce[16];
    uint32_t counter;
    uint8_t pack[16];
    uint32_t value[2]; /* the lower half first */
    uint32_t spare;
    uint8_t signature[64]; /* over all before */
} tfin_command;
enum { TFIN_COMMAND_MAGIC = 0x4D434654 };

/* A page: this, `count` notices of 21 bytes (id 8, token 8, t_tx_mono_s 4, fraud 1), and a
 * signature of 64 over all before. */
typedef struct __attribute__((may_alias)) tfin_page {
    uint32_t magic; /* TFIN_PAGE_MAGIC */
    uint8_t count;  /* not 0 */
    uint8_t key;
    uint16_t number; /* one more than that of the page before */
    uint8_t terminal[8];
} tfin_page;
enum { TFIN_PAGE_MAGIC = 0x544E4654, TFIN_PAGE_NOTICE_BYTES = 21, TFIN_SIGNATURE_BYTES = 64 };

/* Results beyond enum tfin_slots_result. */
enum {
    TFIN_COMMANDS_KEY = 21,  /* no such command key; not a set of keys */
    TFIN_COMMANDS_SIGNATURE, /* does not verify */
    TFIN_COMMANDS_NONCE,     /* void by now */
    TFIN_COMMANDS_COUNTER,   /* not above the last one; of a page, not the next one */
    TFIN_COMMANDS_TERMINAL,  /* for another terminal */
    TFIN_COMMANDS_IDENTITY,  /* the terminal has none; or it has one already */
    TFIN_COMMANDS_PACK,      /* not the pack that is there */
    TFIN_COMMANDS_VALUE,     /* unknown, out of range, or not for a broadcast */
    TFIN_COMMANDS_VERSION    /* a manifest that is not newer */
};

/* What the application does; each returns TFIN_OK, an error of the engine, or
 * TFIN_STATE_LOG_FLASH. */
typedef struct tfin_effects {
    int (*erase_card)(uint64_t token);
    int (*set_time)(uint32_t t_mono_s);
    int (*erase_state)(void);
    int (*apply_notice)(tfin_notice *notice); /* all but t_mono_s, which is now */
    int (*can_reboot)(void);                  /* 1: it can */
    /* what this payload asked for was done */
    void (*obeyed)(enum tfin_command_kind kind, const uint8_t *payload);
} tfin_effects;

typedef struct tfin_commands {
    tfin_slots *slots;
    const tfin_effects *effects;
    const void *work; /* the payload that is worked on; null: at rest */
    uint32_t boot_nonce;
    uint8_t kind;
    uint8_t stage;
    uint8_t reboot; /* a command asked for a restart: once its answer is out */
} tfin_commands;

/* boot_nonce: differs from boot to boot. */
void tfin_commands_open(tfin_commands *commands, tfin_slots *slots, const tfin_effects *effects,
                        uint32_t boot_nonce);

/* What a command to this terminal has to hold now; 0 and zeros without an identity. */
int tfin_commands_nonce(const tfin_commands *commands, uint8_t nonce[16]);

/* Begins; `payload` is aligned to 4. TFIN_SLOTS_OK, TFIN_SLOTS_BUSY, or -1: the payload breaks the
 * rules of its kind. */
int tfin_commands_take(tfin_commands *commands, enum tfin_command_kind kind, const void *payload,
                       uint32_t size);

/* Goes on, while the slots are not busy. -1 while there is more to do, then the result; of
 * TFIN_SLOTS_ENGINE slots->engine_error says why. */
int tfin_commands_step(tfin_commands *commands);

static inline int tfin_commands_busy(const tfin_commands *commands)
{
    return commands->work != 0;
}

#endif
