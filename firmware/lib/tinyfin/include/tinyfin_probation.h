/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Before a pack replaces another one, it scores every event in the shadow of that one: the same
 * features, its own network and calibration, after the verdict is out. A table of 16 counts says
 * whether it behaves as it did at its release. Then it is on trial: it runs, and its alerts are
 * counted. The bounds are in the pack itself, under its signature (section PROB; `tinyfin release`
 * writes it). A pack with other features runs beside a state of its own: tfin_probation_apart.
 * Format: docs/formats/probation.md.
 *
 *   [example]
 *   static tfin_probation probation;
 *
 *   int begin(tfin_engine *engine, const void *pack, size_t pack_size, const tfin_trust *trust)
 *   {
 *       tfin_verified candidate;
 *       int rc = tfin_verify(&candidate, pack, pack_size, trust);
 *       return rc == TFIN_OK ? tfin_probation_shadow(&probation, engine, &candidate) : rc;
 *   }
 *
 *   int check(tfin_engine *engine, const tfin_event *event, tfin_verdict *verdict)
 *   {
 *       int rc = tfin_score(engine, event, verdict);
 *       if (rc == TFIN_OK) {
 *           act_on(verdict);  // what follows changes nothing of it
 *           if (tfin_probation_count(&probation, verdict) == 1) {
 *               report(tfin_probation_result(&probation));
 *           }
 *       }
 *       return rc;
 *   }
 *   [/example]
 *
 * The shadow changes no byte of state and none of a verdict. What it does change: the network's
 * input and output of the last event are then those of the pack in shadow (tfin_network_input,
 * tfin_network_output). Without a call nothing of this is linked.
 */
#ifndef TINYFIN_PROBATION_H
#define TINYFIN_PROBATION_H

#include "tinyfin.h"

#ifdef __cplusplus
extern "C" {
#endif

enum tfin_probation_result {
    TFIN_PROBATION_NONE, /* there is none */
    TFIN_PROBATION_GOES_ON,
    TFIN_PROBATION_PASSED,
    TFIN_PROBATION_FAR,       /* too many scores lie far from those of the pack that runs */
    TFIN_PROBATION_DIFFERS,   /* too many differ from them */
    TFIN_PROBATION_STABILITY, /* its scores are distributed otherwise */
    TFIN_PROBATION_ALERTS,
    TFIN_PROBATION_SATURATED
};

enum { TFIN_PROBATION_BODY_BYTES = 56, TFIN_PROBATION_IMAGE_BYTES = 72 };

/* Do not rely on the contents of this type; only sizeof matters. All zero: no probation. */
typedef struct tfin_probation {
    tfin_engine *engine;
    const uint8_t *bounds;
    const uint8_t *pack; /* in shadow */
    uint8_t running[8];  /* how the id of the pack that is open begins */
    uint32_t body[TFIN_PROBATION_BODY_BYTES / 4];
} tfin_probation;

/* Whether `candidate`, a pack that was verified, can run in the shadow of the pack that is open: it
 * has bounds, computes the same features, needs no more memory, and was released to replace a pack
 * with this model. 1 or 0; 0 too when it was damaged since so that its sections cannot be found. It
 * lies in `candidate_bytes` bytes, aligned to TFIN_ALIGN. */
int tfin_probation_possible(const tfin_engine *running, const void *candidate,
                            size_t candidate_bytes);

/* Begins: `candidate` is a receipt of tfin_verify, and need not be kept; its pack must stay where
 * it is. `running` is open; when another pack is opened with it, nothing is counted any more. The
 * golden vectors are run. TFIN_E_ARGUMENT, TFIN_E_CLOSED, TFIN_E_UNVERIFIED, TFIN_E_DIGEST as
 * tfin_bind; TFIN_E_SECTION: it has no bounds, or they break a rule; TFIN_E_STATE_LAYOUT: another
 * feature program; TFIN_E_MODEL: it was not released to replace the pack that runs;
 * TFIN_E_NO_MODEL; TFIN_E_MEMORY: its network needs more than that of the pack that runs;
 * TFIN_E_GOLDEN. On an error there is no probation. */
int tfin_probation_shadow(tfin_probation *probation, tfin_engine *running,
                          const tfin_verified *candidate);

/* Begins for the pack that is open and on trial. TFIN_E_ARGUMENT, TFIN_E_CLOSED; TFIN_E_SECTION
 * when it has no bounds for a trial. */
int tfin_probation_trial(tfin_probation *probation, tfin_engine *running);

/* The same for a pack with another feature program, which needs a state of its own: `own` is an
 * engine with `candidate` open, in memory of its own, and not begun. Compile the library with
 * TFIN_SHADOW_STATE. From then on `own` gets what `running` gets, right after it: each event that
 * was scored, from the first one on whose verdict has not the flag CLOCK; each outcome; each notice
 * that `running` has taken; and what sets its clock, erases a card or resets it. Its scores are no
 * advice. When the state of `own` begins again, begin the probation again, too: its image counts
 * events that the new state has not seen.
 *
 *   [example]
 *   static tfin_engine own;
 *   static uint8_t own_memory[TINYFIN_MEMORY_BYTES] __attribute__((aligned(TFIN_ALIGN)));
 *
 *   int begin_apart(tfin_engine *engine, const tfin_verified *candidate)
 *   {
 *       int rc = tfin_bind(&own, candidate, own_memory, sizeof own_memory);
 *       return rc == TFIN_OK ? tfin_probation_apart(&probation, engine, &own) : rc;
 *   }
 *
 *   void after(const tfin_event *event, const tfin_verdict *verdict)  // which is out
 *   {
 *       tfin_verdict shadows;
 *       if (tfin_score(&own, event, &shadows) == TFIN_OK &&
 *           tfin_probation_count_apart(&probation, &own, verdict, &shadows) == 1) {
 *           report(tfin_probation_result(&probation));
 *       }
 *   }
 *   [/example]
 *
 * tfin_probation_possible_apart: whether `candidate`, as above, has another feature program, bounds
 * and a network, and was released to replace a pack with this model; 1 or 0. tfin_bind says whether
 * the memory suffices.
 * tfin_probation_apart: TFIN_E_ARGUMENT, also for two engines in one memory; TFIN_E_CLOSED;
 * TFIN_E_SECTION, TFIN_E_NO_MODEL, TFIN_E_MODEL as tfin_probation_shadow.
 * tfin_probation_count_apart: as tfin_probation_count. An event at which `own` is COLD is not
 * counted: until then its state knows too little. */
int tfin_probation_possible_apart(const tfin_engine *running, const void *candidate,
                                  size_t candidate_bytes);
int tfin_probation_apart(tfin_probation *probation, tfin_engine *running, const tfin_engine *own);
int tfin_probation_count_apart(tfin_probation *probation, const tfin_engine *own,
                               const tfin_verdict *verdict, const tfin_verdict *shadows);

/* After each tfin_score that returned TFIN_OK, with its verdict, before any other call of the
 * engine. In shadow it takes as long as a score without features and reasons. 1: this event has
 * brought the result; 0: it goes on, or ended before. TFIN_E_ARGUMENT for null. */
int tfin_probation_count(tfin_probation *probation, const tfin_verdict *verdict);

enum tfin_probation_result tfin_probation_result(const tfin_probation *probation);

/* 1 when it has passed, and its bounds say that no command is needed for what comes next. */
int tfin_probation_advances(const tfin_probation *probation);

/* An image outlives restarts; it is taken when probation has begun again, and is that of this pack
 * in this phase. `out` and `image` have TFIN_PROBATION_IMAGE_BYTES bytes. TFIN_OK, TFIN_E_ARGUMENT;
 * TFIN_E_STATE_MAGIC, TFIN_E_STATE_FORMAT, TFIN_E_STATE_DIGEST; TFIN_E_STATE_LAYOUT: of another
 * pack or phase. What is refused changes nothing. */
int tfin_probation_export(const tfin_probation *probation, void *out);
int tfin_probation_import(tfin_probation *probation, const void *image);

#ifdef __cplusplus
}
#endif
#endif
