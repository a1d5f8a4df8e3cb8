/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The monitor: whether the world still looks as it did when the model was trained, and how many
 * alerts there are. It counts score and features of every event in the bins that the pack's section
 * DRFT names, and moves the thresholds between the levels of its section LEVL, so that the number
 * of alerts stays near a target. Integers, a few hundred bytes, for the life of a terminal. Whoever
 * reads the terminal's reports judges the counts. Format: docs/formats/probation.md.
 *
 * Optional: a program that calls none of this links none of it.
 *
 *   [example]
 *   static uint8_t counts[TINYFIN_MONITOR_BYTES] __attribute__((aligned(4)));
 *   static tfin_monitor monitor;
 *
 *   int check_event(tfin_engine *engine, const tfin_event *event, tfin_verdict *verdict)
 *   {
 *       int rc = tfin_score(engine, event, verdict);
 *       if (rc == TFIN_OK && tfin_monitor_count(&monitor, verdict) == 1) {
 *           log_level(tfin_monitor_level(&monitor)); // from the next event on
 *       }
 *       return rc;
 *   }
 *
 *   int start(tfin_engine *engine, const uint8_t *image, uint32_t image_bytes)
 *   {
 *       // after every tfin_open or tfin_bind of this engine
 *       int rc = tfin_monitor_open(&monitor, engine, counts, sizeof counts);
 *       if (rc == TFIN_OK && image != NULL) {
 *           (void)tfin_monitor_import(&monitor, image, image_bytes); // refused: it begins anew
 *       }
 *       return rc;
 *   }
 *   [/example]
 */
#ifndef TINYFIN_MONITOR_H
#define TINYFIN_MONITOR_H

#include "tinyfin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Do not rely on the contents; only sizeof matters. All zero: not open. */
typedef struct tfin_monitor {
    tfin_engine *engine;
    const uint8_t *drift;  /* section DRFT, or null */
    const uint8_t *levels; /* section LEVL, or null */
    uint8_t *memory;
    uint8_t pack[8]; /* how the id of its pack begins */
} tfin_monitor;

/* The header of an image; behind it the image is as long as the memory. */
#define TFIN_MONITOR_HEADER 24

/* Bytes of memory that the open pack's sections ask for: TINYFIN_MONITOR_BYTES of the generated
 * header. 0: it has neither. TFIN_E_SECTION when one breaks a rule: the pack is scored without a
 * monitor. */
int32_t tfin_monitor_bytes(const tfin_engine *engine);

/* Begins to count, at the usual level. Engine and `memory` (aligned to 4) stay where they are for
 * as long as the monitor is used; it is opened again after every tfin_open or tfin_bind of the
 * engine, which by themselves bring back the usual thresholds, and close it for another pack.
 * TFIN_E_SECTION without either section, or when one breaks a rule; TFIN_E_ALIGN, TFIN_E_MEMORY. On
 * an error the monitor is closed, the engine as it was, and the calls below answer TFIN_E_CLOSED.
 */
int tfin_monitor_open(tfin_monitor *monitor, tfin_engine *engine, void *memory, size_t memory_size);

/* Counts the event scored last: to be called once after every tfin_score that gave TFIN_OK, with
 * its verdict. 1: the level has changed, from the next event on; else 0. */
int tfin_monitor_count(tfin_monitor *monitor, const tfin_verdict *verdict);

/* What was counted: events (they saturate); how often the counts were halved (at most 255); the
 * level of the thresholds. 0 of a monitor that is closed. */
uint32_t tfin_monitor_events(const tfin_monitor *monitor);
uint32_t tfin_monitor_halvings(const tfin_monitor *monitor);
uint32_t tfin_monitor_level(const tfin_monitor *monitor);

/* Bins of histogram `index`, and their counts: 0 is the score, then the features in the order of
 * DRFT. 0 past the last one. */
uint32_t tfin_monitor_histogram(const tfin_monitor *monitor, uint32_t index,
                                const uint16_t **counts);

/* The image: the same bytes on every core, bound to the pack, and no part of the state image. Its
 * size; 0 of a monitor that is closed. */
uint32_t tfin_monitor_size(const tfin_monitor *monitor);

/* Copies the image into `out`, which has at least tfin_monitor_size() bytes (TFIN_E_ARGUMENT). */
int tfin_monitor_export(const tfin_monitor *monitor, void *out, uint32_t size);

/* Takes an image back; its level holds at once. STATE_MAGIC, STATE_FORMAT: it is none;
 * STATE_LAYOUT: it is of another pack; STATE_DIGEST: it is damaged, or its numbers break a rule.
 * Then nothing has changed. */
int tfin_monitor_import(tfin_monitor *monitor, const void *image, uint32_t size);

#ifdef __cplusplus
}
#endif
#endif
