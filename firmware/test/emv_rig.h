/* SPDX-License-Identifier: Apache-2.0 */
/* What the two fuzz targets of tinyfin_emv.h share. */
#ifndef EMV_RIG_H
#define EMV_RIG_H

#include <stdlib.h>
#include <string.h>

#include "tinyfin_emv.h"

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

/* It reads all of its text, so that a sanitizer sees where that lies. */
static uint64_t emv_rig_hash(void *context, enum tfin_emv_hashed what, const uint8_t *text,
                             uint32_t size)
{
    uint64_t hash = (uint64_t)what;
    require(context == NULL && size >= 4 && size <= 19);
    for (uint32_t i = 0; i < size; i++) {
        require(what == TFIN_EMV_APPROVAL || (text[i] >= '0' && text[i] <= '9'));
        hash = hash * 31u + text[i];
    }
    return hash;
}

static int emv_rig_once(const tfin_emv_config *config, const tfin_iso8583_dialect *dialect,
                        const uint8_t *data, uint32_t size, tfin_emv_payment *record,
                        tfin_emv_facts *facts, tfin_emv_fault *fault)
{
    return dialect == NULL ? tfin_emv_read(config, data, size, record, facts, fault)
                           : tfin_iso8583_read(config, dialect, data, size, record, facts, fault);
}

/* Reads into a record and judges it. `walked` is what walking the data ended with. */
static void emv_rig_read(const tfin_emv_config *config, const tfin_iso8583_dialect *dialect,
                         const uint8_t *data, uint32_t size, int walked)
{
    tfin_emv_payment record, before, other;
    tfin_emv_facts facts, more;
    tfin_emv_fault fault;
    memset(&before, 0x5A, sizeof before);
    memset(&facts, 0x5A, sizeof facts);
    before.present = 0;
    record = other = before;
    int rc = emv_rig_once(config, dialect, data, size, &record, &facts, &fault);
    require(rc == fault.error && rc <= 0 && rc >= TFIN_EMV_E_EXTRA && fault.offset <= size);
    require(walked == 0 || rc != TFIN_EMV_OK);
    require(emv_rig_once(config, dialect, data, size, &other, &more, NULL) == rc);
    require(memcmp(&record, &other, sizeof record) == 0);
    if (rc != TFIN_EMV_OK) {
        require(memcmp(&record, &before, sizeof record) == 0);
        return;
    }
    uint32_t p = record.present;
    require((p & ~0x1607FFu) == 0);
    require((p & 1u) == 0 || (record.amount_minor >= 0 && record.amount_minor < 1000000000000));
    require((p & 2u) == 0 || record.token != 0);
    require((p & 4u) == 0 || (uint32_t)record.entry_mode <= 6);
    require((p & 8u) == 0 || (uint32_t)record.transaction_type <= 6);
    require((p & 16u) == 0 || (uint32_t)record.mcc <= 9999);
    require((p & 32u) == 0 || (uint32_t)record.currency <= 999);
    require((p & 64u) == 0 || (uint32_t)record.cvm <= 5);
    require((p & 512u) == 0 || (uint32_t)record.stan <= 999999);
    require(facts.response >= -1 && facts.response <= 99 && facts.terminal_country <= 999);
    require(facts.aid_bytes == 0 ||
            (facts.aid >= data && facts.aid + facts.aid_bytes <= data + size));
}

#endif
