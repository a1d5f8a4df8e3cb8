/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packs over the wire: PACK_BEGIN, PACK_DATA, PACK_END, SLOT_COMMAND and SLOT_INFO, over the slots;
 * and what is signed: CHALLENGE, COMMAND, KEYS, PROVISION, NOTICES, over tfin_commands. An image
 * has them when its board defines TFIN_PORT_FLASH and its port has a flash.c.
 *
 * With TFIN_SEALED, a pack may come sealed: PACK_BEGIN says so, and the header and data that follow
 * are opened where they lie in the frame.
 *
 * These frames are not ordered. Each says what it wants in full, so a repeated one does nothing
 * that was not done; and the terminal goes on to score between the steps of a long one.
 */
#ifndef TFIN_TRANSFER_H
#define TFIN_TRANSFER_H

#include "bytes.h"
#include "commands.h"
#include "seal.h"
#include "slots.h"

/* beyond enum tfin_slots_result, and those of tfin_commands */
enum {
    TFIN_TRANSFER_SCHEMA = 20,      /* the pack's events are not those of this firmware */
    TFIN_TRANSFER_SEALING_KEY = 30, /* the terminal has not the key that sealed the pack */
    TFIN_TRANSFER_PLAIN             /* a pack that is not sealed, and it takes no other */
};

typedef struct tfin_transfer {
    tfin_slots slots;
    tfin_commands commands;
    tfin_probation probation; /* of a pack in shadow or trial */
    uint16_t sequence;        /* of the request that is worked on; its answer has it too */
    uint8_t answering;        /* that answer is still to come */
    uint8_t scored; /* events since boot, up to TFIN_ALIVE_EVENTS; one more: it was said */
#ifdef TFIN_SEALED
    tfin_seal seal;  /* of the pack that is loaded */
    uint8_t begins;  /* PACK_BEGIN is worked on */
    uint8_t unknown; /* it was refused, so `seal` may not be that of the load */
#endif
} tfin_transfer;

/* So many scored events after a boot a pack in trial counts as working. */
enum { TFIN_ALIVE_EVENTS = 8 };

/* In place of tfin_open: as tfin_slots_open where the port has a map, else as tfin_open. The rest
 * is for tfin_commands_open. */
int tfin_transfer_open(tfin_transfer *transfer, tfin_engine *engine, void *memory,
                       uint32_t memory_bytes, tfin_trust *trust, const tfin_effects *effects,
                       uint32_t boot_nonce);

/* Once, when tfin_transfer_open has returned TFIN_OK and before anything is restored: as
 * tfin_slots_watch. */
void tfin_transfer_watch(tfin_transfer *transfer, void *work);

/* Takes a request; `sequence` and the payload as they came. The payload of PACK_BEGIN and PACK_END
 * is aligned to TFIN_ALIGN. Returns 1 when `answer` was filled and is to be sent, 0 when the answer
 * comes from tfin_transfer_step. -1: the payload breaks the rules of its type. */
int tfin_transfer_take(tfin_transfer *transfer, uint8_t type, uint16_t sequence, tfin_reader *in,
                       uint32_t t_s, tfin_writer *answer);

/* One operation on flash. What comes back: */
enum tfin_transfer_work {
    TFIN_TRANSFER_RESTS,  /* there is nothing to do */
    TFIN_TRANSFER_WORKS,  /* there is more to do */
    TFIN_TRANSFER_ANSWERS /* the request with transfer->sequence is done: send its answer */
};
enum tfin_transfer_work tfin_transfer_step(tfin_transfer *transfer);

/* The payload of PACK_STATUS after TFIN_TRANSFER_ANSWERS. */
void tfin_transfer_answer(const tfin_transfer *transfer, tfin_writer *answer);

/* Whether there are slots. */
static inline int tfin_transfer_works(const tfin_transfer *transfer)
{
    return transfer->slots.journal.map != 0;
}

/* Whether the last request's payload is still read. */
static inline int tfin_transfer_reads(const tfin_transfer *transfer)
{
    return tfin_slots_reads(&transfer->slots) || tfin_commands_busy(&transfer->commands);
}

/* An event was scored, as tfin_probation_count wants it. 1: the probation has its result. */
int tfin_transfer_scored(tfin_transfer *transfer, const tfin_verdict *verdict);

/* The payloads of SLOT_INFO and CHALLENGE. */
void tfin_transfer_info(const tfin_transfer *transfer, tfin_writer *answer);
void tfin_transfer_challenge(const tfin_transfer *transfer, tfin_writer *answer);

/* The payload of PROBATION: its image; nothing without a probation. */
void tfin_transfer_probation(const tfin_transfer *transfer, tfin_writer *answer);

#endif
