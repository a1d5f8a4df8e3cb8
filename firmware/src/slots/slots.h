/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packs that are replaced in the field: two slots in flash next to the pack of the image (the
 * factory pack), and a journal that says which one runs. Guide: docs/field.md.
 *
 *     tfin_slots_open()              in place of tfin_open; never a pack below the floor
 *     tfin_slots_begin(header)       its signature is checked before anything is erased
 *     tfin_slots_data(offset, ...)   in order, into erased flash
 *     tfin_slots_end(header)         the header comes last; then the whole pack is verified: STAGED
 *     tfin_slots_command(ACTIVATE)   SHADOW: from the next boot on it scores what the pack scores
 *                                    that runs, and nobody sees it; for packs that were released
 *                                    with bounds for that (tinyfin_probation.h), with another
 *                                    feature program where TFIN_SHADOW_STATE is defined
 *     tfin_slots_command(TRY)        TRIAL: runs from the next boot on; of a pack that cannot run
 *                                    in the shadow, ACTIVATE does the same
 *     tfin_slots_command(ALIVE)      it has worked for a while
 *     tfin_slots_command(CONFIRM)    it stays, and the floor rises to its security counter
 *
 * Flash is touched by tfin_slots_open, and from then on by tfin_slots_step alone, one operation in
 * a call: call it while there is nothing else to do. The calls that change something only begin
 * it; `busy` says that it is not done yet.
 *
 * A pack in shadow is given up when it leaves its bounds. A trial ends, and the pack before it runs
 * again, when the pack leaves them, when the application reverts it, when the pack
 * no longer verifies, or when it has used its tries up. A boot costs a try when a watchdog or a
 * fault ended the one before it, or when that one ended before ALIVE for another reason
 * than a pulled plug. A pulled plug never costs one.
 */
#ifndef TFIN_SLOTS_H
#define TFIN_SLOTS_H

#include "journal.h"
#include "tinyfin_probation.h"

enum tfin_slots_place { TFIN_SLOT_0, TFIN_SLOT_1, TFIN_SLOT_FACTORY, TFIN_SLOT_NONE };

enum tfin_slots_phase {
    TFIN_PHASE_NONE,
    TFIN_PHASE_ERASING, /* the other slot's contents mean nothing */
    TFIN_PHASE_LOADING, /* it was erased, and holds the beginning of a pack, but for its header */
    TFIN_PHASE_STAGED,  /* it holds a pack that was verified */
    TFIN_PHASE_SHADOW,  /* that pack scores in the shadow of the active one */
    TFIN_PHASE_TRIAL
};

/* Why the phase is what it is; kept in the journal. */
enum tfin_slots_reason {
    TFIN_REASON_NONE,
    TFIN_REASON_JOURNAL_LOST, /* no valid record: the factory pack runs */
    TFIN_REASON_ABORTED,
    TFIN_REASON_REVERTED,
    TFIN_REASON_TRIES_USED_UP,
    TFIN_REASON_DAMAGED, /* the pack did not verify after it was written, or in trial */
    TFIN_REASON_CONFIRMED,
    TFIN_REASON_SHADOW, /* the pack left its bounds in shadow, */
    TFIN_REASON_TRIAL   /* or in trial */
};

/* What the calls return. */
enum tfin_slots_result {
    TFIN_SLOTS_OK, /* done, or begun */
    TFIN_SLOTS_BUSY,
    TFIN_SLOTS_PHASE,        /* not in this phase */
    TFIN_SLOTS_HERE,         /* this pack is in a slot already */
    TFIN_SLOTS_REFUSED,      /* this pack was given up before */
    TFIN_SLOTS_TOO_OFTEN,    /* more than four installs a day */
    TFIN_SLOTS_TOO_LARGE,    /* for a slot */
    TFIN_SLOTS_KERNELS,      /* the pack needs network kernels that are not linked */
    TFIN_SLOTS_OFFSET,       /* not the next bytes of the pack */
    TFIN_SLOTS_OTHER_HEADER, /* not the header that the install began with */
    TFIN_SLOTS_NOT_ALIVE,    /* the pack in trial has not worked for long enough */
    TFIN_SLOTS_ENGINE,       /* the engine refuses the pack; `engine_error` says why */
    TFIN_SLOTS_FLASH         /* the flash does not take what is written */
};

/* Why the boot before this one ended, as far as the chip can tell. */
enum tfin_slots_cause { TFIN_CAUSE_POWER, TFIN_CAUSE_FAULT, TFIN_CAUSE_OTHER };

typedef struct tfin_slots {
    tfin_journal journal;
    tfin_trust *trust;
    tfin_engine *engine;
    uint32_t memory_bytes;
#ifdef TFIN_SHADOW_STATE
    /* of a pack in shadow with another feature program; set after tfin_slots_open. The memory has
     * memory_bytes, too. Closed when its slot may be written, open on until the next boot when the
     * trial of that pack is to begin. */
    tfin_engine *apart;
    void *apart_memory;
#endif
    const uint8_t *data; /* what is being programmed */
    uint32_t next;       /* LOADING: the offset that the next data has */
    uint32_t end;        /* where `data` ends, or what is erased */
    uint32_t total;      /* size of the pack that is loaded */
    uint32_t counter;    /* of the pack that runs */
    uint16_t day;        /* of the install that begins */
    uint8_t job;
    uint8_t running;     /* enum tfin_slots_place: what this boot runs */
    uint8_t known;       /* `next` and `total` are known */
    uint8_t watched;     /* the probation that began at boot is still that of this phase */
    uint8_t result;      /* of the last operation, when it is not busy */
    int8_t engine_error; /* of TFIN_SLOTS_ENGINE */
} tfin_slots;

/* In place of tfin_open: opens the pack that the journal names; when it does not open, the one
 * before it; then `factory`, the pack of the image. `trust` is kept, and its
 * minimum_security_counter rises to the floor. `engine` is kept, too. TFIN_OK, or the error of the
 * last one that was tried: then there is no advice, and a pack can still be installed. Takes as
 * long as tfin_open, up to three times. */
int tfin_slots_open(tfin_slots *slots, const tfin_flash_map *map, tfin_engine *engine, void *memory,
                    size_t memory_size, tfin_trust *trust, const void *factory, size_t factory_size,
                    enum tfin_slots_cause cause);

/* One operation on flash. 1 while there is more to do, 0 when the last operation has its result. */
int tfin_slots_step(tfin_slots *slots);
int tfin_slots_busy(const tfin_slots *slots);
/* Whether it still reads the bytes that the last call was given. */
int tfin_slots_reads(const tfin_slots *slots);

/* An install begins, or goes on where it stopped: when it is no longer busy, `next` says where.
 * `header` is the first TFIN_PACK_HEADER_BYTES of the pack, aligned to TFIN_ALIGN. t_s is the
 * application's clock (as t_mono_s): at most four installs a day begin. */
int tfin_slots_begin(tfin_slots *slots, const void *header, uint32_t t_s);

/* The next bytes: at slots->next, a multiple of 32 or up to the pack's end. `data` must stay as it
 * is until it is no longer busy, and be followed by up to 31 bytes that may be read. */
int tfin_slots_data(tfin_slots *slots, uint32_t offset, const void *data, uint32_t size);

/* All data is there; header as in tfin_slots_begin, in TFIN_SLOTS_WORK_BYTES, which are used for
 * other things when the header is in flash. */
#define TFIN_SLOTS_WORK_BYTES                                               \
    (sizeof(tfin_verified) > TFIN_PACK_HEADER_BYTES ? sizeof(tfin_verified) \
                                                    : TFIN_PACK_HEADER_BYTES)
int tfin_slots_end(tfin_slots *slots, void *header);

/* What becomes of the other pack. */
enum tfin_slots_command {
    /* STAGED to SHADOW, of a pack that can run in the shadow of the one that runs, else to TRIAL,
     * from the next boot on */
    TFIN_SLOTS_ACTIVATE,
    TFIN_SLOTS_CONFIRM, /* the pack in trial, which runs, stays */
    TFIN_SLOTS_REVERT,  /* TRIAL: the pack before it, from the next boot on */
    TFIN_SLOTS_ABORT,   /* ERASING, LOADING, STAGED, SHADOW: forget that pack */
    TFIN_SLOTS_TRY,     /* STAGED, SHADOW: to TRIAL, from the next boot on */
    TFIN_SLOTS_ALIVE,   /* the pack in trial, which runs, works */
    TFIN_SLOTS_FAIL     /* SHADOW, TRIAL: it left its bounds; the pack before it, as of REVERT */
};
int tfin_slots_command(tfin_slots *slots, enum tfin_slots_command command);

/* Once at boot, when the state is back: begins the probation of the pack in SHADOW, which is
 * verified again, or of the one in TRIAL that runs. `work`, aligned to 8, has TFIN_SLOTS_WORK_BYTES
 * and is free afterwards. A pack in shadow that does not verify any more is given up. */
void tfin_slots_watch(tfin_slots *slots, tfin_probation *probation, void *work);

/* Whether `probation`, which tfin_slots_watch began, is still that of a pack in its phase. Once it
 * is not, it never is again in this boot, and must not be counted any more: its pack may be written
 * over. */
int tfin_slots_watches(const tfin_slots *slots, const tfin_probation *probation);

/* Does what the result of the probation asks for, if it asks for anything and the slots are at
 * rest. */
void tfin_slots_follow(tfin_slots *slots, const tfin_probation *probation);

/* Writes slots->journal.now, which the caller has changed. */
int tfin_slots_record(tfin_slots *slots);

/* A later day than that of journal.now begins with no installs. Writes nothing. */
void tfin_slots_set_day(tfin_slots *slots, uint16_t day);

/* As tfin_journal_renew. It reads `context` until it is no longer busy. */
int tfin_slots_renew(tfin_slots *slots, tfin_sheet_change *change, const void *context);

/* Finishes what tfin_slots_record or tfin_slots_renew began, at once: at boot. */
void tfin_slots_settle(tfin_slots *slots);

/* A pack that was given up may be installed again, and the installs of the day are forgotten. Not
 * while there is another pack. */
int tfin_slots_allow(tfin_slots *slots);

/* Whether the other pack, or the one that was given up last, has this id, of 16 bytes. Of a pack
 * that is not complete, or was given up, the first four are known. */
int tfin_slots_other_is(const tfin_slots *slots, const uint8_t *pack_id);

/* The pack that runs; null when none does. */
const void *tfin_slots_running(const tfin_slots *slots, const void *factory);

enum tfin_slots_phase tfin_slots_phase(const tfin_slots *slots);
enum tfin_slots_place tfin_slots_active(const tfin_slots *slots);
enum tfin_slots_place tfin_slots_other(const tfin_slots *slots);
uint32_t tfin_slots_tries(const tfin_slots *slots);

#endif
