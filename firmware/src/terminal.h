/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine of a terminal, and what the terminal keeps with it: packs in slots, the state over a
 * pulled plug, what monitor and probation have counted, the audit log. An application with a line
 * of its own takes this file and calls it where wire.c does; docs/field.md says when.
 *
 * What a board cannot keep costs nothing: without TFIN_PORT_FLASH there are no slots and no audit
 * log, without TFIN_STATE_LOG the state is in RAM alone, with TFIN_MONITOR_BYTES 0 nothing is
 * counted. With TFIN_SHADOW_STATE there is memory for a second state, so that a pack with another
 * feature program runs in shadow, too.
 *
 * There is one terminal, and one caller at a time.
 */
#ifndef TFIN_TERMINAL_H
#define TFIN_TERMINAL_H

#include "bytes.h"
#include "config.h"
#include "tinyfin.h"
#include "tinyfin_monitor.h"
#include "tinyfin_pack.h"
#include "slots/audit.h" /* names, where nothing is kept */
#ifdef TFIN_PORT_FLASH
#include "slots/report.h"
#include "slots/transfer.h"
#endif
#ifdef TFIN_STATE_LOG
#ifndef TFIN_PORT_FLASH
#error "TFIN_STATE_LOG: the state is kept in flash, and this board has no TFIN_PORT_FLASH"
#endif
#include "slots/state_log.h"
#endif

#if defined TFIN_SHADOW_STATE && !defined TFIN_PORT_FLASH
#error "TFIN_SHADOW_STATE: packs in shadow are in slots, and this board has no TFIN_PORT_FLASH"
#endif

#if defined TFIN_SEALED && !defined TFIN_PORT_FLASH
#error "TFIN_SEALED: sealed packs go into slots, and this board has no TFIN_PORT_FLASH"
#endif

/* Any pack may come into a slot; without slots there is one, and its sizes are known. */
#if TFIN_MONITOR_BYTES > 0 &&   \
    (defined TFIN_PORT_FLASH || \
     (TINYFIN_MONITOR_BYTES > 0 && TINYFIN_MONITOR_BYTES <= TFIN_MONITOR_BYTES))
#define TFIN_MONITORED
#endif
#if TFIN_MONITOR_BYTES % 4 != 0
#error "TFIN_MONITOR_BYTES: a multiple of 4"
#endif

typedef struct tfin_terminal {
    tfin_engine engine;
    int open_error;      /* of the pack; its calls answer TFIN_E_CLOSED then */
    uint32_t boot_nonce; /* another one in every boot */
    /* over features and network output of every scored event since reset or import, and the number
     * of these events: whoever compares them counts them */
    uint32_t digest;
    uint32_t scored;
#ifdef TFIN_MONITORED
    tfin_monitor monitor;
#endif
#ifdef TFIN_PORT_FLASH
    tfin_transfer transfer;
    tfin_trust trust;
    tfin_audit audit;
    uint32_t reports; /* begun in this boot */
#endif
#ifdef TFIN_SHADOW_STATE
    tfin_engine apart;       /* of a pack in shadow with a state of its own; closed without one */
    const tfin_event *event; /* scored last */
#endif
#ifdef TFIN_STATE_LOG
    tfin_state_log state_log;
    uint8_t since_notes; /* events */
#endif
} tfin_terminal;

extern tfin_terminal tfin_the_terminal;

/* Memory that anyone may use between two calls, and that every call below may overwrite: the wire
 * writes its answers here. */
extern uint8_t tfin_scratch[TFIN_WIRE_FRAME_BYTES];

/* Opens the pack that is to run, and goes on where the state log ends. Called once. record_bytes:
 * of the record that the caller will fill; a pack of a slot that wants a larger one is refused.
 * Gives open_error. */
int tfin_terminal_open(uint32_t record_bytes);

/* As tfin_score, tfin_apply_outcome, tfin_apply_notice, tfin_rebase_time and tfin_reset; and the
 * state log and the audit log, where there are such, keep it. With TFIN_SHADOW_STATE the event and
 * its record stay as they are until tfin_terminal_scored. */
int tfin_terminal_score(const tfin_event *event, tfin_verdict *verdict);
int tfin_terminal_outcome(const tfin_outcome *outcome);
int tfin_terminal_notice(const tfin_notice *notice);
int tfin_terminal_set_clock(uint32_t t_mono_s);
int tfin_terminal_reset(void);

/* To be called when the bytes from `from` to `to` of a state image were imported with `rc`. Gives
 * what became of it. */
int tfin_terminal_imported(uint32_t from, uint32_t to, int rc);

/* To be called when a verdict is out, before the outcome: monitor, probation and audit log, which
 * the verdict does not wait for. */
void tfin_terminal_scored(const tfin_verdict *verdict);

/* One operation on flash for audit log or state, where there is one to do: 1 if there was. Packs
 * have tfin_transfer_step, which has an answer to give. */
int tfin_terminal_step(void);

/* Bytes of the monitor's image; 0: nothing is counted. */
uint32_t tfin_terminal_monitor_size(void);

#ifdef TFIN_PORT_FLASH
/* The time of the engine, 0 while it has not begun. */
uint32_t tfin_terminal_clock_s(void);

/* A piece of the report from `offset` on, with `counters` in it; a report begins at 0. 0: `offset`
 * lies behind its end. Format: docs/formats/report.md. */
int tfin_terminal_report(const uint32_t *counters, uint32_t count, uint32_t offset, tfin_writer *w);
#endif

#endif
