/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pack runs, in flash, through any power cut. One record holds everything; records are only
 * appended, to one of two sectors; the newest valid one counts. Format: docs/formats/journal.md.
 *
 * A record that was being written when the power went may read right today and wrong tomorrow, and
 * so may its copy. Therefore nothing is done because of a record that was only read: at boot the
 * newest one is appended once more, and what was written in this boot and read back is certain. It
 * is written twice, because the first place that reads erased may be one where a cut had begun to
 * write; the place behind it is not. The sector that is erased to make space never holds the newest
 * record.
 */
#ifndef TFIN_JOURNAL_H
#define TFIN_JOURNAL_H

#include <stdint.h>

#include "flash.h"

/* As it lies in flash; 32 bytes, the largest program unit of any chip. */
typedef struct tfin_journal_record {
    uint8_t version; /* TFIN_JOURNAL_VERSION */
    uint8_t places;  /* active pack in bits 0 and 1, other pack in bits 2 and 3, phase above */
    /* in trial: tries left in bits 0 to 3; bit 4: the last boot worked, bit 5: one of this trial
     * did; while a pack is loaded: the first erase unit of the slot that may hold anything */
    uint8_t detail;
    uint8_t reason;    /* why the phase is what it is: bits 0 to 4; installs of the day above */
    uint32_t sequence; /* goes up by one from place to place, also over what cannot be read */
    uint32_t floor;    /* no pack with a lower security counter runs */
    uint32_t commands; /* the highest counter of a command that was obeyed */
    uint16_t day;      /* of these installs; no clock is set to an earlier one */
    uint16_t notices;  /* number of the newest page of notices that was applied */
    uint8_t active[4]; /* how the id of the active pack begins */
    uint8_t other[4];  /* of the other one; of the one given up last, when there is none */
    uint32_t crc;      /* over the bytes before it */
} tfin_journal_record;

enum { TFIN_JOURNAL_VERSION = 2, TFIN_SHEET_BYTES = 320, TFIN_SHEET_PIECE = 32 };

/* Makes of a piece of the sheet, at this offset, what it is to become. It is called more than once
 * for a piece, each time with what the sheet holds. */
typedef void tfin_sheet_change(uint32_t at, uint8_t piece[TFIN_SHEET_PIECE], const void *context);

/* Never written; written, and no record is valid; a valid record. */
enum tfin_journal_found { TFIN_JOURNAL_BLANK, TFIN_JOURNAL_LOST, TFIN_JOURNAL_FOUND };

typedef struct tfin_journal {
    const tfin_flash_map *map;
    tfin_journal_record now; /* the newest, or what is being written */
    uint16_t used;           /* places of the sector that do not read erased, or come before one */
    uint8_t sector;          /* that holds the newest */
    uint8_t copies;          /* of `now` that are still to be written; 0: at rest */
    uint8_t unit;            /* of the present copy, that is programmed next */
    uint8_t job;             /* what becomes of the other sector, */
    uint16_t done;           /* and so many units of it are done */
    tfin_sheet_change *change; /* null: the sheet stays as it is */
    const void *context;
    uint8_t failures; /* what the chip refused or that read back wrong, since a copy was right */
    uint8_t found;    /* enum tfin_journal_found, at boot */
    uint16_t opened;  /* of now.sequence, when it was opened */
} tfin_journal;

/* Reads both sectors, each record once, and appends the newest again. Called once, at boot; without
 * a valid record `now` is all zero. */
void tfin_journal_open(tfin_journal *journal, const tfin_flash_map *map);

/* Begins to write journal->now, which the caller has changed, as the newest, twice. Not while one
 * is being written. */
void tfin_journal_write(tfin_journal *journal);

/* The same, in the other sector, whose sheet is changed; `context` must stay as it is until the
 * journal is at rest. By then nothing of the sheet before it is left in flash, as far as it can be
 * read. */
void tfin_journal_renew(tfin_journal *journal, tfin_sheet_change *change, const void *context);

/* Where the sheet lies that counts. */
uint32_t tfin_journal_sheet(const tfin_journal *journal);

/* One operation on flash. 1 while there is more to do. After many failures in a row it gives up,
 * and `failures` is TFIN_JOURNAL_GIVES_UP: then the change may or may not stand. */
int tfin_journal_step(tfin_journal *journal);
enum { TFIN_JOURNAL_GIVES_UP = 16 };

#endif
