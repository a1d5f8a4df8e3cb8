/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the terminal has learned, in flash, through any power cut: an image of the engine's state,
 * and behind it every outcome and notice since. Guide: docs/field.md. Format:
 * docs/formats/state_log.md.
 *
 *     tfin_state_log_open()        once, after tfin_open or tfin_slots_open: the state comes back
 *     tfin_state_log_score()       in place of tfin_score
 *     tfin_state_log_outcome()     in place of tfin_apply_outcome
 *     tfin_state_log_notice()      in place of tfin_apply_notice
 *     tfin_state_log_erase_card()  in place of tfin_erase_card
 *     tfin_state_log_save()        after tfin_reset, tfin_import_state and tfin_rebase_time
 *     tfin_state_log_keep_notes()  now and then: what the application counts, apart from the state
 *     tfin_state_log_step()        when there is nothing else to do
 *
 * An outcome or a notice is in flash when its call returns; a cut during the call loses that one at
 * most. A score writes nothing, unless it pushes out the oldest of the events that wait. Events
 * that wait for their outcome are lost with the power, as without a log.
 *
 * There are two halves. One holds an image and the events since; the next image goes to the other
 * one, which is erased first, a unit in each step, when little space is left, and after a boot,
 * when the first event is scored. Nothing is appended where a cut may have begun to write. A call
 * that changes the state while an image is written finishes it first: it takes the time that
 * erasing a half and programming an image take.
 *
 * It is for terminals in service. A rig that replays a million transactions wears flash out.
 */
#ifndef TFIN_STATE_LOG_H
#define TFIN_STATE_LOG_H

#include "flash.h"
#include "tinyfin.h"

/* Neither half was ever written; something is there, and none of it is an image of this feature
 * program that can be read; the state came back. */
enum tfin_state_log_found { TFIN_STATE_BLANK, TFIN_STATE_LOST, TFIN_STATE_FOUND };

/* A small image of the application's own that is kept behind the state: with every image of the
 * state, and when tfin_state_log_keep_notes is called. */
typedef struct tfin_state_note {
    uint32_t most;                                    /* bytes that it ever has */
    uint32_t (*size)(void);                           /* bytes; 0: there is nothing to keep now */
    void (*put)(uint8_t *out);                        /* so many bytes */
    void (*take)(const uint8_t *data, uint32_t size); /* at boot, also an older one before it */
} tfin_state_note;

typedef struct tfin_state_log {
    const tfin_flash_map *map; /* null: the state is not kept */
    tfin_engine *engine;
    const tfin_trust *trust; /* its progress function */
    uint8_t *work;
    const tfin_state_note *notes;
    uint16_t work_bytes;
    uint8_t note_count;
    uint8_t note;      /* that is written next, with an image */
    uint32_t sequence; /* of the newest image; it goes up with every image */
    uint32_t end;      /* where the next event goes, in the half that counts */
    uint32_t at;       /* what is erased or written next, in the other half */
    uint16_t events;   /* behind the image */
    uint16_t restored; /* of them, at boot */
    uint8_t half;      /* that counts */
    uint8_t grows;     /* its image was written in this boot: events can be appended */
    uint8_t job;
    uint8_t wanted;   /* a new image is to be written; */
    uint8_t alone;    /* and then the half before it is to be erased */
    uint8_t failures; /* in a row, of images; at TFIN_STATE_LOG_GIVES_UP nothing is kept any more */
    uint8_t found;    /* enum tfin_state_log_found, at boot */
} tfin_state_log;

enum { TFIN_STATE_LOG_GIVES_UP = 4 };

/* Bytes of `work` for an engine, and for notes of so many bytes at most. */
uint32_t tfin_state_log_work_bytes(const tfin_engine *engine, uint32_t note_bytes);

/* Brings the state back. `engine` is open and cold. `work`, aligned to 8, is used in every call and
 * is free between two of them. The progress function of `trust` is called in long calls. Where map
 * is null, or has no space for the state, or the work memory is too small, nothing is kept and the
 * other functions are those of the engine. `notes` (note_count of them, at most 8) are kept in
 * their order, which is also how they are told apart. */
void tfin_state_log_open(tfin_state_log *log, const tfin_flash_map *map, tfin_engine *engine,
                         void *work, uint32_t work_bytes, const tfin_trust *trust,
                         const tfin_state_note *notes, uint32_t note_count);

/* These return what the engine's functions do. A call that the engine refuses writes nothing. */
int tfin_state_log_score(tfin_state_log *log, const tfin_event *event, tfin_verdict *verdict);
int tfin_state_log_outcome(tfin_state_log *log, const tfin_outcome *outcome);
int tfin_state_log_notice(tfin_state_log *log, const tfin_notice *notice);

/* Forgets a card in memory and in flash: when it returns TFIN_OK, no byte of the token is left in
 * either. TFIN_STATE_LOG_FLASH: the flash does not take what is written, or does not erase; memory
 * has forgotten the card. It takes the time of an image and of the erasure of a half. */
enum { TFIN_STATE_LOG_FLASH = 1 };
int tfin_state_log_erase_card(tfin_state_log *log, uint64_t token);

/* A new image at once; what was kept before is erased. 1, or 0 when the flash does not take it. */
int tfin_state_log_save(tfin_state_log *log);

#ifdef TFIN_SHADOW_STATE
/* From now on the log keeps the state of this engine, of which an image is written at once: for a
 * pack that the next boot runs. Nothing changes where the flash has no space for it. */
void tfin_state_log_follow(tfin_state_log *log, tfin_engine *engine);
#endif

/* Appends the notes, where anything can be appended; a new image has them anyway. */
void tfin_state_log_keep_notes(tfin_state_log *log);

/* Programs at most 32 bytes or a note, or erases one unit, if anything is due. 1 while there is
 * more to do. */
int tfin_state_log_step(tfin_state_log *log);

/* Whether the state is kept. */
static inline int tfin_state_log_works(const tfin_state_log *log)
{
    return log->map != 0 && log->failures < TFIN_STATE_LOG_GIVES_UP;
}

#endif
