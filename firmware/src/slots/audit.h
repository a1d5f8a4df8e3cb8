/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the terminal decided and which commands it obeyed, in flash, for an auditor: a ring of
 * records. Each has a MAC over itself and the MAC of the one before it. Guide: docs/field.md.
 * Format: docs/formats/audit.md.
 *
 *     tfin_audit_open()       once, after tfin_slots_open, when the clock is known: RESTART
 *     tfin_audit_verdict()    a verdict that is not ACCEPT, or of a control event
 *     tfin_audit_obeyed()     a command, keys, an identity or a page of notices was done
 *     tfin_audit_state()      the state was erased, or the clock was set, by the application
 *     tfin_audit_level()      the monitor has changed the level of the thresholds
 *     tfin_audit_step()       when there is nothing else to do and the slots are at rest
 *
 * A record is in flash when its call returns. A change of the journal becomes a record in the next
 * step. The ring has units, as many as it has erase units, and a unit has a key of its own: before
 * it is full the next one is erased, in one step, and the key is replaced in the journal by its
 * hash. So what is in an older unit can no longer be made on this terminal. A record that is due
 * while the key is replaced, or when the unit is full before that, is lost; the first record of the
 * next unit says how many were.
 *
 * Nothing is appended where a cut may have begun to write. After a boot one place is left free;
 * behind it the last record stands once more, since it may not read tomorrow as it does today; then
 * comes RESTART. Where more than that is doubtful, because boots were cut while they did this, a
 * boot goes on with the next unit.
 *
 * Without an identity, which has the key, nothing is written.
 */
#ifndef TFIN_AUDIT_H
#define TFIN_AUDIT_H

#include "bytes.h"
#include "commands.h"
#include "keys.h"
#include "slots.h"

/* What became of the state, of tfin_audit_state. */
enum tfin_audit_state { TFIN_AUDIT_ERASED, TFIN_AUDIT_IMPORTED, TFIN_AUDIT_CLOCK };

enum tfin_audit_kind {
    TFIN_AUDIT_VERDICT = 1,
    TFIN_AUDIT_UNIT,         /* the first record of a unit */
    TFIN_AUDIT_UNIT_AT_BOOT, /* the same; a cut may have torn the record before it */
    TFIN_AUDIT_RESTART,
    TFIN_AUDIT_SLOTS, /* the journal has changed */
    TFIN_AUDIT_STATE,
    TFIN_AUDIT_OBEYED, /* and enum tfin_command_kind */
    TFIN_AUDIT_LEVEL = 11
};

typedef struct tfin_audit {
    tfin_slots *slots; /* null: nothing is written */
    uint16_t next;     /* place in the unit, of the next record */
    uint16_t noted;    /* of the journal's sequence number: the newest that a record has */
    uint8_t unit;
    uint8_t lost; /* records, since the last one that said so; 255: or more */
    uint8_t state;
    uint8_t failures; /* of units, in a row; after a few nothing is written any more */
} tfin_audit;

/* Finds the end of the chain and appends RESTART. A unit is erased, and the key replaced, when that
 * is needed. `slots` is at rest. To be called again when the terminal has got its identity. */
void tfin_audit_open(tfin_audit *audit, tfin_slots *slots, enum tfin_slots_cause cause,
                     uint32_t boot_nonce, uint32_t t_s);

/* t_s of these: the engine's clock. token: of the card, 0 without one. */
void tfin_audit_verdict(tfin_audit *audit, uint32_t t_s, const tfin_verdict *verdict,
                        uint64_t token);
void tfin_audit_obeyed(tfin_audit *audit, uint32_t t_s, enum tfin_command_kind kind,
                       const uint8_t *payload);
void tfin_audit_state(tfin_audit *audit, uint32_t t_s, enum tfin_audit_state what);
void tfin_audit_level(tfin_audit *audit, uint32_t t_s, uint32_t level, uint32_t counted);

/* One operation on flash, or it begins a change of the journal, which tfin_slots_step does. 1 while
 * there is more to do. */
int tfin_audit_step(tfin_audit *audit, uint32_t t_s);

/* 0: nothing is written, and there is no head. */
int tfin_audit_read_head(const tfin_audit *audit, tfin_audit_head *head);

/* The payload of AUDIT from this place on, as much as fits. 0: there is no such place. */
int tfin_audit_read(const tfin_audit *audit, const tfin_flash_map *map, uint32_t first,
                    tfin_writer *answer);

#endif
