/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a terminal says of itself to those who look after it: counters, slots, the head of its audit
 * log, what its monitor counted, with a MAC under its report key. Format: docs/formats/report.md.
 *
 * A report is made again for every piece of it that is asked for, and never held whole: its bytes
 * are the same as long as its figures are.
 */
#ifndef TFIN_REPORT_H
#define TFIN_REPORT_H

#include "audit.h"
#include "tinyfin_monitor.h"

typedef struct tfin_report {
    const tfin_slots *slots;
    const tfin_audit *audit;
    const uint32_t *counters; /* those of tfin_stats, then the wire's: docs/formats/report.md */
    uint32_t counter_count;   /* at most 24 */
    uint32_t boot_nonce;
    uint32_t number; /* of the report, in this boot */
    uint32_t t_s;
    const uint8_t *pack_id;      /* at least 8 bytes */
    uint8_t cause;               /* enum tfin_slots_cause */
    const tfin_monitor *monitor; /* may be null, or closed */
} tfin_report;

/* The payload of REPORT: the bytes from `offset` on, as many as fit. Returns the size of the whole
 * report; 0: the terminal has no identity, so no report. */
uint32_t tfin_report_piece(const tfin_report *report, uint32_t offset, tfin_writer *answer);

#endif
