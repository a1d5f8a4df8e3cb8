/* SPDX-License-Identifier: Apache-2.0 */
/* What TLV data and messages have in common: values where they lie, and what becomes of them. */
#ifndef TINYFIN_EMV_VALUES_H
#define TINYFIN_EMV_VALUES_H

#include "../../include/tinyfin_emv.h"

enum emv_coding { EMV_PACKED, EMV_TEXT, EMV_BYTES };

enum emv_element {
    EMV_AMOUNT,
    EMV_AMOUNT_OTHER,
    EMV_CURRENCY,
    EMV_TYPE,
    EMV_CONDITION,
    EMV_ENTRY,
    EMV_MCC,
    EMV_STAN,
    EMV_DATE,
    EMV_TIME,
    EMV_PAN,
    EMV_TRACK_2,
    EMV_EXPIRY,
    EMV_SEQUENCE,
    EMV_APPROVAL,
    EMV_RESPONSE,
    EMV_TERMINAL_COUNTRY,
    EMV_ISSUER_COUNTRY,
    EMV_TERMINAL_TYPE,
    EMV_FLOOR,
    EMV_TVR,
    EMV_TSI,
    EMV_CVM,
    EMV_QUALIFIERS,
    EMV_ATC,
    EMV_CID,
    EMV_AIP,
    EMV_AID,
    EMV_ELEMENTS
};

/* `count` digits or bytes; of a packed number after `pad` half bytes. No data: not there. */
typedef struct emv_value {
    const uint8_t *data;
    uint32_t what, offset;
    uint16_t count;
    uint8_t coding, pad;
} emv_value;

typedef struct emv_found {
    emv_value at[EMV_ELEMENTS];
    uint16_t mti;
} emv_found;

int emv_fail(tfin_emv_fault *fault, int error, uint32_t what, uint32_t offset);

/* Walks TLV data; `base` is where it begins in what the caller was given. What is in `found`
 * already stays. */
int emv_find(const tfin_emv_config *config, const uint8_t *tlv, uint32_t size, uint32_t base,
             emv_found *found, tfin_emv_fault *fault);

/* What was found becomes record and facts. */
int emv_take(const tfin_emv_config *config, const emv_found *found, void *record,
             tfin_emv_facts *facts, tfin_emv_fault *fault);

#endif
