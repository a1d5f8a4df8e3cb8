/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three packs in one terminal, each written by `tinyfin codegen` with a prefix of its own: two
 * judge payments (trained with labels, and without), one the terminal's own health. An engine for
 * each, the engine's code once. Prints of each pack how often it advised to accept, go online,
 * verify and decline, and a CRC-32 over its features and verdicts:
 *
 *   health 375 25 0 0 1725858265
 */
#include "health_pack.h"
#include "payment_pack.h"
#include "port.h"
#include "tinyfin.h"
#include "unusual_pack.h"

enum { HOURS = 400, SAGS_FROM = 300, PAYMENTS_PER_HOUR = 3 };

typedef struct watch {
    tfin_engine engine;
    uint32_t advised[TFIN_ADVICE_DECLINE + 1];
    uint32_t crc;
} watch;

static watch payments, unusual, health;
static uint8_t payments_memory[PAYMENT_MEMORY_BYTES] __attribute__((aligned(TFIN_ALIGN)));
static uint8_t unusual_memory[UNUSUAL_MEMORY_BYTES] __attribute__((aligned(TFIN_ALIGN)));
static uint8_t health_memory[HEALTH_MEMORY_BYTES] __attribute__((aligned(TFIN_ALIGN)));

static int open_all(void)
{
    tfin_trust trust = {0};
    trust.allow_development_key = 1; /* a release: TFIN_RELEASE, and keys of its own */
    trust.record = payment_record;   /* one record is filled, and two packs read it */
    int rc = tfin_open(&payments.engine, payment_pack, PAYMENT_PACK_BYTES, payments_memory,
                       sizeof payments_memory, &trust);
    if (rc == TFIN_OK) {
        rc = tfin_open(&unusual.engine, unusual_pack, UNUSUAL_PACK_BYTES, unusual_memory,
                       sizeof unusual_memory, &trust);
    }
    trust.record = health_record;
    return rc != TFIN_OK ? rc
                         : tfin_open(&health.engine, health_pack, HEALTH_PACK_BYTES, health_memory,
                                     sizeof health_memory, &trust);
}

static int judge(watch *w, const tfin_event *event)
{
    tfin_verdict verdict;
    int rc = tfin_score(&w->engine, event, &verdict);
    if (rc != TFIN_OK) {
        return rc;
    }
    uint32_t count;
    const int16_t *features = tfin_features(&w->engine, &count);
    enum tfin_advice advice = tfin_advice(&verdict);
    w->crc = tfin_crc32(w->crc, features, count * 2u);
    w->crc = tfin_crc32(w->crc, &verdict.score_q32, sizeof verdict.score_q32);
    w->crc = tfin_crc32(w->crc, &verdict.flags, sizeof verdict.flags);
    w->crc = tfin_crc32(w->crc, &verdict.action, sizeof verdict.action);
    w->advised[advice]++;
    tfin_outcome outcome = {.id = event->id, .t_mono_s = event->t_mono_s, .response = -1};
    outcome.result = advice == TFIN_ADVICE_DECLINE ? TFIN_RESULT_DECLINED : TFIN_RESULT_APPROVED;
    outcome.action_taken = verdict.action;
    return tfin_apply_outcome(&w->engine, &outcome);
}

static uint32_t noise(uint32_t x)
{
    x *= 2654435761u;
    return x ^ x >> 15;
}

static int pay(uint32_t id)
{
    payment_payment_t r = {0};
    r.amount_minor = noise(id) % 50u == 0 ? 90000 : 500 + noise(id) % 4000u;
    r.token = 1u + noise(id + 1u) % 40u;
    r.entry_mode = PAYMENT_PAYMENT_ENTRY_MODE_CONTACTLESS_CHIP;
    r.present = PAYMENT_PAYMENT_AMOUNT_MINOR | PAYMENT_PAYMENT_TOKEN | PAYMENT_PAYMENT_ENTRY_MODE;
    tfin_event event = {.id = id, .record = &r, .record_size = sizeof r};
    event.t_mono_s = event.t_local_s = 1200u * id;
    int rc = judge(&payments, &event);
    return rc != TFIN_OK ? rc : judge(&unusual, &event);
}

static int look_after(uint32_t hour)
{
    uint32_t sag = hour > SAGS_FROM ? (hour - SAGS_FROM) * 3u / 2u : 0;
    health_terminal_health_t r = {0};
    r.supply_mv = (int32_t)(5000u + noise(hour) % 16u - sag);
    r.temperature_dc = (int32_t)(250u + hour % 24u * 3u + sag / 4u);
    r.restarts = sag > 80u && hour % 5u == 0;
    r.key_interval_ms = 420;
    r.present = HEALTH_TERMINAL_HEALTH_ALL_FIELDS;
    tfin_event event = {.id = hour, .record = &r, .record_size = sizeof r};
    event.t_mono_s = event.t_local_s = 3600u * hour;
    return judge(&health, &event);
}

static int run(void)
{
    int rc = open_all();
    for (uint32_t hour = 1; rc == TFIN_OK && hour <= HOURS; hour++) {
        for (uint32_t i = 0; rc == TFIN_OK && i < PAYMENTS_PER_HOUR; i++) {
            rc = pay(PAYMENTS_PER_HOUR * hour + i);
        }
        rc = rc != TFIN_OK ? rc : look_after(hour);
    }
    return rc;
}

static void print(const char *text)
{
    for (; *text != '\0'; text++) {
        tfin_port_write((const uint8_t *)text, 1);
    }
}

static void print_number(uint32_t value)
{
    char digits[12] = " ";
    uint32_t size = 2;
    for (uint32_t rest = value; rest >= 10u; rest /= 10u) {
        size++;
    }
    for (uint32_t at = size - 1u; at != 0; at--, value /= 10u) {
        digits[at] = (char)('0' + value % 10u);
    }
    tfin_port_write((const uint8_t *)digits, size);
}

static void print_watch(const char *name, const watch *w)
{
    print(name);
    for (uint32_t i = 0; i <= TFIN_ADVICE_DECLINE; i++) {
        print_number(w->advised[i]);
    }
    print_number(w->crc);
    print("\n");
}

int main(void)
{
    int rc = run();
    print_watch("payment", &payments);
    print_watch("unusual", &unusual);
    print_watch("health", &health);
    print(rc == TFIN_OK ? "done\n" : tfin_error_name(rc));
    tfin_port_exit(rc == TFIN_OK ? 0 : 1);
    return 0;
}
