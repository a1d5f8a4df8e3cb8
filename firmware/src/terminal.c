/* SPDX-License-Identifier: Apache-2.0 */
#include "terminal.h"

#include <string.h>

#include "port.h"

static uint8_t memory[TINYFIN_MEMORY_BYTES] __attribute__((aligned(TFIN_ALIGN)));
tfin_terminal tfin_the_terminal;
uint8_t tfin_scratch[TFIN_WIRE_FRAME_BYTES] __attribute__((aligned(8)));

static tfin_terminal *const own = &tfin_the_terminal;

/* ------------------------------------------------------------------------ what is kept of drift */

#ifdef TFIN_MONITORED
#ifdef TFIN_PORT_FLASH
static uint32_t monitor_counts[TFIN_MONITOR_BYTES / 4];
#else
static uint32_t monitor_counts[(TINYFIN_MONITOR_BYTES + 3) / 4];
#endif

static void open_monitor(void)
{
    /* a pack without the sections, or whose sections are too large or break a rule: none */
    (void)tfin_monitor_open(&own->monitor, &own->engine, monitor_counts, sizeof monitor_counts);
}

uint32_t tfin_terminal_monitor_size(void)
{
    return tfin_monitor_size(&own->monitor);
}
#else
static void open_monitor(void)
{
}

uint32_t tfin_terminal_monitor_size(void)
{
    return 0;
}
#endif

/* --------------------------------------------------------- a pack in shadow with its own state */

#ifdef TFIN_SHADOW_STATE
static uint8_t shadow_memory[TINYFIN_MEMORY_BYTES] __attribute__((aligned(TFIN_ALIGN)));

static tfin_engine *shadow(void)
{
    return tfin_pack_id(&own->apart) != NULL ? &own->apart : NULL;
}
#else
static inline tfin_engine *shadow(void)
{
    return NULL;
}
#endif

/* -------------------------------------------------------------------- what is kept of the state */

#ifdef TFIN_STATE_LOG
static uint32_t probation_size(void)
{
    /* a shadow with its own state begins again at the next start, and so do its counts */
    return shadow() == NULL && tfin_slots_watches(&own->transfer.slots, &own->transfer.probation)
               ? TFIN_PROBATION_IMAGE_BYTES
               : 0;
}

static void put_probation(uint8_t *out)
{
    (void)tfin_probation_export(&own->transfer.probation, out);
}

static void take_probation(const uint8_t *data, uint32_t size)
{
    if (size == TFIN_PROBATION_IMAGE_BYTES) {
        (void)tfin_probation_import(&own->transfer.probation, data);
    }
}

#ifdef TFIN_MONITORED
static void put_monitor(uint8_t *out)
{
    (void)tfin_monitor_export(&own->monitor, out, tfin_monitor_size(&own->monitor));
}

static void take_monitor(const uint8_t *data, uint32_t size)
{
    (void)tfin_monitor_import(&own->monitor, data, size);
}
#endif

/* images that another pack has left are refused */
static const tfin_state_note notes[] = {
    {TFIN_PROBATION_IMAGE_BYTES, probation_size, put_probation, take_probation},
#ifdef TFIN_MONITORED
    {TFIN_MONITOR_HEADER + sizeof monitor_counts, tfin_terminal_monitor_size, put_monitor,
     take_monitor},
#endif
};
enum { NOTES = sizeof notes / sizeof notes[0] };

/* What the next boot runs is kept: a pack that was in shadow takes its own state into the trial. */
static void follow(void)
{
#ifdef TFIN_SHADOW_STATE
    const tfin_slots *slots = &own->transfer.slots;
    tfin_engine *apart = shadow();
    int on_trial = apart != NULL && tfin_slots_phase(slots) == TFIN_PHASE_TRIAL;
    tfin_state_log_follow(&own->state_log, on_trial ? apart : &own->engine);
#endif
}

static int is_kept(const tfin_engine *engine)
{
#ifdef TFIN_SHADOW_STATE
    return engine == own->state_log.engine;
#else
    (void)engine;
    return 1;
#endif
}

static int save(int rc)
{
    follow();
    int failed =
        rc == TFIN_OK && own->state_log.map != NULL && !tfin_state_log_save(&own->state_log);
    return failed ? TFIN_STATE_LOG_FLASH : rc;
}
#else
static int save(int rc)
{
    return rc;
}
#endif

static int score_in(tfin_engine *engine, const tfin_event *event, tfin_verdict *verdict)
{
#ifdef TFIN_STATE_LOG
    if (is_kept(engine)) {
        return tfin_state_log_score(&own->state_log, event, verdict);
    }
#endif
    return tfin_score(engine, event, verdict);
}

static int outcome_in(tfin_engine *engine, const tfin_outcome *outcome)
{
#ifdef TFIN_STATE_LOG
    if (is_kept(engine)) {
        return tfin_state_log_outcome(&own->state_log, outcome);
    }
#endif
    return tfin_apply_outcome(engine, outcome);
}

static int notice_in(tfin_engine *engine, const tfin_notice *notice)
{
#ifdef TFIN_STATE_LOG
    if (is_kept(engine)) {
        return tfin_state_log_notice(&own->state_log, notice);
    }
#endif
    return tfin_apply_notice(engine, notice);
}

int tfin_terminal_score(const tfin_event *event, tfin_verdict *verdict)
{
#ifdef TFIN_SHADOW_STATE
    own->event = event;
#endif
    return score_in(&own->engine, event, verdict);
}

int tfin_terminal_outcome(const tfin_outcome *outcome)
{
    int rc = outcome_in(&own->engine, outcome);
    if (shadow() != NULL) {
        (void)outcome_in(shadow(), outcome);
    }
    return rc;
}

int tfin_terminal_notice(const tfin_notice *notice)
{
    int rc = notice_in(&own->engine, notice);
    if (rc == TFIN_OK && shadow() != NULL) {
        (void)notice_in(shadow(), notice);
    }
    return rc;
}

static void forget_digest(void)
{
    own->digest = 0;
    own->scored = 0;
}

static int set_time(uint32_t t_mono_s)
{
    if (shadow() != NULL) {
        (void)tfin_rebase_time(shadow(), t_mono_s);
    }
    return save(tfin_rebase_time(&own->engine, t_mono_s));
}

static int erase_state(void)
{
    forget_digest();
    if (shadow() != NULL) {
        (void)tfin_reset(shadow());
    }
    return save(tfin_reset(&own->engine));
}

/* ------------------------------------------------------------------ what is kept for an auditor */

#ifdef TFIN_PORT_FLASH
static uint32_t clock_of(const tfin_engine *engine)
{
    enum { AT_CLOCK = 64 }; /* behind the header of a state image: docs/formats/program.md */
    uint8_t t[4];
    if (tfin_export_state(engine, AT_CLOCK, t, sizeof t) != TFIN_OK) {
        return 0;
    }
    tfin_reader clock = {t, t + sizeof t, 0};
    return (uint32_t)tfin_get(&clock, sizeof t);
}

/* Whoever scores: this clock does not leap, and a frame that was refused or a release without
 * EVENTS has no other. */
uint32_t tfin_terminal_clock_s(void)
{
    return own->open_error != TFIN_OK ? 0 : clock_of(&own->engine);
}

/* The token is that of the event that waits for its outcome. */
static void audit_verdict(const tfin_verdict *verdict)
{
    enum { AT_TOKEN = 16 }; /* of a pending entry: docs/formats/program.md */
    uint32_t size = tfin_waiting_size(&own->engine);
    uint64_t token = 0;
    if (size <= sizeof tfin_scratch &&
        tfin_export_waiting(&own->engine, verdict->id, tfin_scratch, size) == TFIN_OK) {
        tfin_reader waiting = {tfin_scratch + AT_TOKEN, tfin_scratch + AT_TOKEN + 8, 0};
        token = tfin_get(&waiting, 8);
    }
    tfin_audit_verdict(&own->audit, tfin_terminal_clock_s(), verdict, token);
}

static void audit_state(enum tfin_audit_state what)
{
    tfin_audit_state(&own->audit, tfin_terminal_clock_s(), what);
}

/* The event of `verdict` in the shadow that has its own state. A clock that has not begun would
 * follow an event that the engine's clock does not. */
static int count_apart(const tfin_verdict *verdict)
{
#ifdef TFIN_SHADOW_STATE
    tfin_verdict shadows;
    tfin_transfer *t = &own->transfer;
    if (shadow() == NULL ||
        (clock_of(&own->apart) == 0 && (verdict->flags & TFIN_FLAG_CLOCK) != 0) ||
        score_in(&own->apart, own->event, &shadows) != TFIN_OK) {
        return 0;
    }
    return tfin_slots_watches(&t->slots, &t->probation) &&
           tfin_probation_count_apart(&t->probation, &own->apart, verdict, &shadows) == 1;
#else
    (void)verdict;
    return 0;
#endif
}

/* The monitor comes last: it may change the thresholds, from the next event on. A plug that is
 * pulled loses at most NOTES_EVERY events of what is counted, and no change. */
void tfin_terminal_scored(const tfin_verdict *verdict)
{
    int changed = tfin_transfer_scored(&own->transfer, verdict) | count_apart(verdict);
    if (changed) {
        tfin_audit_probation(&own->audit, tfin_terminal_clock_s(), &own->transfer.probation);
    }
#ifdef TFIN_MONITORED
    if (tfin_monitor_count(&own->monitor, verdict) == 1) {
        changed = 1;
        tfin_audit_level(&own->audit, tfin_terminal_clock_s(), tfin_monitor_level(&own->monitor),
                         tfin_monitor_events(&own->monitor));
    }
#endif
#ifdef TFIN_STATE_LOG
    enum { NOTES_EVERY = 32 };
    if (changed || ++own->since_notes == NOTES_EVERY) {
        tfin_state_log_keep_notes(&own->state_log);
        own->since_notes = 0;
    }
#endif
    audit_verdict(verdict);
}

static enum tfin_slots_cause cause(void)
{
    return tfin_port_power_was_lost() ? TFIN_CAUSE_POWER : TFIN_CAUSE_OTHER;
}

static void open_audit(void)
{
    if (tfin_transfer_works(&own->transfer)) {
        tfin_audit_open(&own->audit, &own->transfer.slots, cause(), own->boot_nonce,
                        tfin_terminal_clock_s());
    }
}

int tfin_terminal_report(const uint32_t *counters, uint32_t count, uint32_t offset, tfin_writer *w)
{
    static const uint8_t nothing[16];
    own->reports += offset == 0;
    const tfin_report report = {
        .slots = &own->transfer.slots,
        .audit = &own->audit,
        .probation = &own->transfer.probation,
        .counters = counters,
        .counter_count = count,
        .boot_nonce = own->boot_nonce,
        .number = own->reports,
        .t_s = tfin_terminal_clock_s(),
        .pack_id = own->open_error == TFIN_OK ? tfin_pack_id(&own->engine) : nothing,
        .cause = (uint8_t)cause(),
#ifdef TFIN_MONITORED
        .monitor = &own->monitor,
#endif
    };
    return tfin_report_piece(&report, offset, w) >= offset;
}

/* --------------------------------------------------------------------- what signed messages ask */

static int erase_card_in(tfin_engine *engine, uint64_t token)
{
#ifdef TFIN_STATE_LOG
    if (is_kept(engine)) {
        return tfin_state_log_erase_card(&own->state_log, token);
    }
#endif
    return tfin_erase_card(engine, token);
}

static int erase_card(uint64_t token)
{
    int rc = erase_card_in(&own->engine, token);
    int other = shadow() != NULL ? erase_card_in(shadow(), token) : TFIN_OK;
    return rc != TFIN_OK ? rc : other;
}

static int apply_late_notice(tfin_notice *notice)
{
    notice->t_mono_s = tfin_terminal_clock_s();
    /* a clock that has not begun would date every notice to its beginning */
    return notice->t_mono_s != 0 || own->open_error != TFIN_OK ? tfin_terminal_notice(notice)
                                                               : TFIN_E_TIME;
}

static int can_reboot(void)
{
    return (tfin_port_abilities & TFIN_PORT_REBOOT) != 0;
}

static void obeyed(enum tfin_command_kind kind, const uint8_t *payload)
{
    if (kind == TFIN_NEW_IDENTITY) {
        open_audit();
    }
    tfin_audit_obeyed(&own->audit, tfin_terminal_clock_s(), kind, payload);
}

static const tfin_effects effects = {erase_card,        set_time,   erase_state,
                                     apply_late_notice, can_reboot, obeyed};
#else
void tfin_terminal_scored(const tfin_verdict *verdict)
{
#ifdef TFIN_MONITORED
    (void)tfin_monitor_count(&own->monitor, verdict);
#else
    (void)verdict;
#endif
}

static void audit_state(enum tfin_audit_state what)
{
    (void)what;
}
#endif

/* -------------------------------------------------------------------------- what a host changes */

int tfin_terminal_set_clock(uint32_t t_mono_s)
{
    int rc = set_time(t_mono_s);
    audit_state(TFIN_AUDIT_CLOCK);
    return rc;
}

int tfin_terminal_reset(void)
{
    int rc = erase_state();
    audit_state(TFIN_AUDIT_ERASED);
    return rc;
}

int tfin_terminal_imported(uint32_t from, uint32_t to, int rc)
{
    if (to == tfin_state_size(&own->engine)) {
        if (rc == TFIN_OK && shadow() != NULL) {
            (void)tfin_reset(shadow()); /* it has not seen what the image has */
        }
        rc = save(rc);
    }
    if (from == 0) {
        audit_state(TFIN_AUDIT_IMPORTED);
    }
    forget_digest();
    return rc;
}

/* ------------------------------------------------------------------------------ start and steps */

static void trust_keys(tfin_trust *trust)
{
    static const uint32_t record_of_pack = 0; /* events.c takes the pack's fields */
    memset(trust, 0, sizeof *trust);
#if TINYFIN_TRUSTED_KEYS > 0
    trust->keys = tinyfin_trusted_keys;
    trust->key_count = TINYFIN_TRUSTED_KEYS;
#endif
    trust->record = &record_of_pack;
    /* a build with TFIN_RELEASE refuses that key whatever this says */
    trust->allow_development_key = 1;
}

int tfin_terminal_open(uint32_t record_bytes)
{
    own->boot_nonce = tfin_port_entropy();
#ifdef TFIN_PORT_FLASH
    trust_keys(&own->trust);
    own->open_error = tfin_transfer_open(&own->transfer, &own->engine, memory, sizeof memory,
                                         &own->trust, &effects, own->boot_nonce);
    if (own->open_error == TFIN_OK &&
        tfin_event_schema(&own->engine)->record_bytes > record_bytes) {
        /* of an image with other events than the one before it */
        own->open_error = TFIN_E_OTHER_RECORD;
    }
#else
    tfin_trust trust;
    trust_keys(&trust);
    (void)record_bytes;
    own->open_error =
        tfin_open(&own->engine, tinyfin_pack, TINYFIN_PACK_BYTES, memory, sizeof memory, &trust);
#endif
    if (own->open_error == TFIN_OK) {
#ifdef TFIN_SHADOW_STATE
        own->transfer.slots.apart = &own->apart;
        own->transfer.slots.apart_memory = shadow_memory;
#endif
#ifdef TFIN_PORT_FLASH
        tfin_transfer_watch(&own->transfer, tfin_scratch);
#endif
        open_monitor();
#ifdef TFIN_STATE_LOG
        tfin_state_log_open(&own->state_log, tfin_port_flash_map(), &own->engine, tfin_scratch,
                            sizeof tfin_scratch, &own->trust, notes, NOTES);
#endif
    }
#ifdef TFIN_PORT_FLASH
    open_audit();
#endif
    return own->open_error;
}

int tfin_terminal_step(void)
{
#ifdef TFIN_PORT_FLASH
    if (tfin_audit_step(&own->audit, tfin_terminal_clock_s())) {
        return 1;
    }
#endif
#ifdef TFIN_STATE_LOG
    follow();
    return tfin_state_log_step(&own->state_log);
#else
    return 0;
#endif
}
