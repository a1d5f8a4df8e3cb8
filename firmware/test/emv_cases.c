/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads TLV data and messages, on a target or (TFIN_TEST_HOST) on this machine under sanitizers,
 * and compares errors, records and facts. The exit code is 0 when nothing differs.
 * tests/engine/test_emv.py makes the cases.
 */
#include <string.h>

#include "tinyfin_emv.h"

#ifdef TFIN_TEST_HOST
#include <stdio.h>
#include <stdlib.h>
#else
#include "port.h"
#endif

typedef struct emv_case {
    uint32_t message; /* 1: of ISO 8583 */
    uint32_t flags, header_bytes, near_s, format_1;
    uint32_t size;
    int32_t error;
    uint32_t what, offset;
    uint32_t t_local_s;
    int32_t response, result;
    tfin_emv_payment record;
} emv_case;

extern const uint8_t net_cases[]; /* u32 count, u32 0; cases, each before its data, aligned to 8 */

int main(void);

/* FNV-1a */
static uint64_t hash(void *context, enum tfin_emv_hashed what, const uint8_t *text, uint32_t size)
{
    uint64_t h = UINT64_C(0xCBF29CE484222325);
    (void)context;
    for (uint32_t i = 0; i <= size; i++) {
        h = (h ^ (i == 0 ? (uint64_t)what : text[i - 1])) * UINT64_C(0x100000001B3);
    }
    return h;
}

static int differs(const emv_case *c, const uint8_t *data)
{
    tfin_emv_config config = {.hash = hash, .near_s = c->near_s};
    tfin_iso8583_dialect dialect = {.flags = (uint8_t)c->flags};
    tfin_emv_payment record;
    tfin_emv_facts facts;
    tfin_emv_fault fault;
    config.format_1 = (uint8_t)c->format_1;
    dialect.header_bytes = (uint8_t)c->header_bytes;
    memset(&record, 0, sizeof record);
    int rc = c->message
                 ? tfin_iso8583_read(&config, &dialect, data, c->size, &record, &facts, &fault)
                 : tfin_emv_read(&config, data, c->size, &record, &facts, &fault);
    if (rc != c->error || fault.error != rc || fault.what != c->what || fault.offset != c->offset) {
        return 1;
    }
    if (memcmp(&record, &c->record, sizeof record) != 0) {
        return 1;
    }
    return rc == TFIN_EMV_OK && (facts.t_local_s != c->t_local_s || facts.response != c->response ||
                                 facts.result != c->result);
}

int main(void)
{
    const uint8_t *at = net_cases + 8;
    uint32_t count, bad = 0;
    memcpy(&count, net_cases, sizeof count);
    for (uint32_t i = 0; i < count; i++) {
        const emv_case *c = (const emv_case *)(const void *)at;
        const uint8_t *data = at + sizeof *c;
#ifdef TFIN_TEST_HOST
        uint8_t *own = malloc(c->size + 1); /* what is read behind it is seen */
        memcpy(own + 1, data, c->size);
        bad += (uint32_t)differs(c, own + 1);
        free(own);
#else
        bad += (uint32_t)differs(c, data);
#endif
        at = data + (c->size + 7u) / 8u * 8u;
    }
#ifdef TFIN_TEST_HOST
    printf("%u of %u differ\n", (unsigned)bad, (unsigned)count);
#else
    tfin_port_write((const uint8_t *)(bad == 0 ? "all alike\n" : "some differ\n"),
                    bad == 0 ? 10 : 12);
    tfin_port_exit(bad != 0);
#endif
    return bad != 0;
}
