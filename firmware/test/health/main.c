/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A terminal that watches itself: the struct of another schema, filled hour by hour, the supply
 * sagging towards the end. Prints the hour of the first alert and a CRC-32 over all features and
 * verdicts: "health <hour> <crc>\n".
 */
#include <string.h>

#include "port.h"
#include "tinyfin.h"
#include "tinyfin_pack.h"

#define HOURS 400u
#define SAGS_FROM 300u

static tfin_engine engine;
static uint64_t memory[(TINYFIN_MEMORY_BYTES + 23) / 8];

static void print_number(uint32_t value)
{
    uint8_t digits[10];
    uint32_t at = sizeof digits;
    do {
        digits[--at] = (uint8_t)('0' + value % 10u);
        value /= 10u;
    } while (value != 0);
    tfin_port_write(digits + at, sizeof digits - at);
}

static uint32_t noise(uint32_t hour)
{
    uint32_t x = hour * 2654435761u;
    return (x ^ x >> 15) % 16u;
}

static void report(uint32_t hour, tinyfin_terminal_health_t *r)
{
    uint32_t sag = hour > SAGS_FROM ? (hour - SAGS_FROM) * 3u / 2u : 0;
    memset(r, 0, sizeof *r);
    r->supply_mv = (int32_t)(5000u + noise(hour) - sag);
    r->temperature_dc = (int32_t)(250u + hour % 24u * 3u + sag / 4u);
    r->card_reads = (int32_t)(hour % 24u > 6u ? noise(hour + 7u) : 0);
    r->restarts = sag > 80u && hour % 5u == 0;
    r->key_interval_ms = 420;
    r->present = TINYFIN_TERMINAL_HEALTH_SUPPLY_MV | TINYFIN_TERMINAL_HEALTH_TEMPERATURE_DC |
                 TINYFIN_TERMINAL_HEALTH_TAMPER_FLAGS | TINYFIN_TERMINAL_HEALTH_CARD_READS |
                 TINYFIN_TERMINAL_HEALTH_READER_ERRORS | TINYFIN_TERMINAL_HEALTH_RESTARTS |
                 TINYFIN_TERMINAL_HEALTH_KEY_INTERVAL_MS;
}

static int watch(uint32_t *first_alert, uint32_t *crc)
{
    tinyfin_terminal_health_t record;
    tfin_verdict verdict;
    uint8_t *aligned = (uint8_t *)(((uintptr_t)memory + 15u) & ~(uintptr_t)15u);
    tfin_trust trust = {0};
    trust.allow_development_key = 1;
    trust.record = tinyfin_record;
    int rc =
        tfin_open(&engine, tinyfin_pack, TINYFIN_PACK_BYTES, aligned, TINYFIN_MEMORY_BYTES, &trust);
    for (uint32_t hour = 1; rc == TFIN_OK && hour <= HOURS; hour++) {
        uint32_t count;
        report(hour, &record);
        tfin_event event = {.id = hour,
                            .t_mono_s = 3600u * hour,
                            .t_local_s = 3600u * hour,
                            .record = &record,
                            .record_size = sizeof record};
        rc = tfin_score(&engine, &event, &verdict);
        const int16_t *features = tfin_features(&engine, &count);
        *crc = tfin_crc32(*crc, features, count * 2u);
        *crc = tfin_crc32(*crc, &verdict.score_q32, 4);
        *crc = tfin_crc32(*crc, &verdict.action, 1);
        if (verdict.action != TFIN_ACTION_ACCEPT && *first_alert == 0) {
            *first_alert = hour;
        }
        tfin_outcome outcome = {.id = hour, .t_mono_s = 3600u * hour};
        if (rc == TFIN_OK) {
            rc = tfin_apply_outcome(&engine, &outcome);
        }
    }
    return rc;
}

int main(void)
{
    uint32_t first_alert = 0;
    uint32_t crc = 0;
    int rc = watch(&first_alert, &crc);
    tfin_port_write((const uint8_t *)"health ", 7);
    print_number(first_alert);
    tfin_port_write((const uint8_t *)" ", 1);
    print_number(crc);
    tfin_port_write((const uint8_t *)"\n", 1);
    tfin_port_exit(rc == TFIN_OK ? 0 : 1);
    return 0;
}
