/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "values.h"

enum { LONGEST = 0xFFFF, FORMAT_1 = 0x80, AC_BYTES = 8 };

void tfin_tlv_begin(tfin_tlv_walk *walk, const void *data, uint32_t size)
{
    memset(walk, 0, sizeof *walk);
    walk->data = data;
    walk->ends[0] = data == NULL ? 0 : size;
}

int tfin_tlv_next(tfin_tlv_walk *walk, tfin_tlv *found)
{
    const uint8_t *data = walk->data;
    memset(found, 0, sizeof *found);
    for (;;) {
        while (walk->at < walk->ends[walk->depth] && data[walk->at] == 0) {
            walk->at++;
        }
        if (walk->at < walk->ends[walk->depth]) {
            break;
        }
        if (walk->depth == 0) {
            found->offset = walk->at;
            return 0;
        }
        walk->depth--;
    }
    uint32_t at = walk->at, end = walk->ends[walk->depth];
    found->offset = at;
    uint32_t tag = data[at++];
    uint8_t constructed = (tag & 0x20u) != 0;
    if ((tag & 0x1Fu) == 0x1Fu) {
        do {
            if (tag > 0xFFFFu) {
                return TFIN_EMV_E_TAG;
            }
            if (at == end) {
                return TFIN_EMV_E_TRUNCATED;
            }
            tag = tag << 8 | data[at];
        } while ((data[at++] & 0x80u) != 0);
    }
    found->tag = tag;
    if (at == end) {
        return TFIN_EMV_E_TRUNCATED;
    }
    uint32_t size = data[at++];
    if (size == 0x80u || size > 0x82u) {
        return TFIN_EMV_E_LENGTH;
    }
    if (size > 0x80u) {
        uint32_t bytes = size - 0x80u;
        if (end - at < bytes) {
            return TFIN_EMV_E_TRUNCATED;
        }
        size = bytes == 1 ? data[at] : (uint32_t)data[at] << 8 | data[at + 1];
        at += bytes;
        if (size < (bytes == 1 ? 0x80u : 0x100u)) {
            return TFIN_EMV_E_LENGTH;
        }
    }
    if (end - at < size) {
        return TFIN_EMV_E_TRUNCATED;
    }
    if (constructed && walk->depth == TFIN_TLV_DEPTH) {
        return TFIN_EMV_E_DEPTH;
    }
    found->size = size;
    found->value = data + at;
    found->constructed = constructed;
    walk->at = at;
    if (constructed) {
        walk->ends[++walk->depth] = at + size;
    } else {
        walk->at += size;
    }
    return 1;
}

int tfin_tlv_find(const void *data, uint32_t size, uint32_t tag, tfin_tlv *found)
{
    tfin_tlv_walk walk;
    tfin_tlv_begin(&walk, data, size);
    int rc;
    do {
        rc = tfin_tlv_next(&walk, found);
    } while (rc == 1 && found->tag != tag);
    return rc;
}

static const struct {
    uint16_t tag;
    uint8_t element, coding, least, most; /* bytes */
} tags[] = {
    {0x9F02, EMV_AMOUNT, EMV_PACKED, 6, 6},
    {0x9F03, EMV_AMOUNT_OTHER, EMV_PACKED, 6, 6},
    {0x5F2A, EMV_CURRENCY, EMV_PACKED, 2, 2},
    {0x9C, EMV_TYPE, EMV_PACKED, 1, 1},
    {0x9F39, EMV_ENTRY, EMV_PACKED, 1, 1},
    {0x9F15, EMV_MCC, EMV_PACKED, 2, 2},
    {0x9A, EMV_DATE, EMV_PACKED, 3, 3},
    {0x9F21, EMV_TIME, EMV_PACKED, 3, 3},
    {0x5A, EMV_PAN, EMV_PACKED, 4, 10},
    {0x57, EMV_TRACK_2, EMV_PACKED, 7, 19},
    {0x5F24, EMV_EXPIRY, EMV_PACKED, 3, 3},
    {0x5F34, EMV_SEQUENCE, EMV_PACKED, 1, 1},
    {0x89, EMV_APPROVAL, EMV_TEXT, 6, 6},
    {0x8A, EMV_RESPONSE, EMV_TEXT, 2, 2},
    {0x9F1A, EMV_TERMINAL_COUNTRY, EMV_PACKED, 2, 2},
    {0x5F28, EMV_ISSUER_COUNTRY, EMV_PACKED, 2, 2},
    {0x9F35, EMV_TERMINAL_TYPE, EMV_PACKED, 1, 1},
    {0x9F1B, EMV_FLOOR, EMV_BYTES, 4, 4},
    {0x95, EMV_TVR, EMV_BYTES, 5, 5},
    {0x9B, EMV_TSI, EMV_BYTES, 2, 2},
    {0x9F34, EMV_CVM, EMV_BYTES, 3, 3},
    {0x9F6C, EMV_QUALIFIERS, EMV_BYTES, 2, 2},
    {0x9F36, EMV_ATC, EMV_BYTES, 2, 2},
    {0x9F27, EMV_CID, EMV_BYTES, 1, 1},
    {0x82, EMV_AIP, EMV_BYTES, 2, 2},
    {0x84, EMV_AID, EMV_BYTES, 5, 16},
    {0x4F, EMV_AID, EMV_BYTES, 5, 16},
    {0x9F06, EMV_AID, EMV_BYTES, 5, 16},
};

/* A data object that is wanted: checked, and kept unless a message has said the same already. */
static int keep(uint32_t tag, const uint8_t *value, uint32_t size, uint32_t offset,
                emv_found *found, tfin_emv_fault *fault)
{
    for (uint32_t i = 0; i < sizeof tags / sizeof tags[0]; i++) {
        if (tags[i].tag != tag) {
            continue;
        }
        emv_value *to = &found->at[tags[i].element];
        if (size < tags[i].least || size > tags[i].most) {
            return emv_fail(fault, TFIN_EMV_E_VALUE, tag, offset);
        }
        uint32_t count = tags[i].coding == EMV_PACKED ? 2u * size : size;
        if (to->data == NULL) {
            *to = (emv_value){value, tag, offset, (uint16_t)count, tags[i].coding, 0};
        } else if (to->what == tag && (to->count != count || memcmp(to->data, value, size) != 0)) {
            return emv_fail(fault, TFIN_EMV_E_TWICE, tag, offset);
        }
    }
    return TFIN_EMV_OK;
}

static int keep_format_1(uint8_t format, const tfin_tlv *tlv, uint32_t offset, emv_found *found,
                         tfin_emv_fault *fault)
{
    const uint8_t *value = tlv->value;
    if (format == TFIN_EMV_PROCESSING_OPTIONS && tlv->size >= 2) {
        return keep(0x82, value, 2, offset, found, fault);
    }
    if (format == TFIN_EMV_GENERATE_AC && tlv->size >= 3 + AC_BYTES) {
        int rc = keep(0x9F27, value, 1, offset, found, fault);
        return rc != TFIN_EMV_OK ? rc : keep(0x9F36, value + 1, 2, offset, found, fault);
    }
    int error = format == TFIN_EMV_NO_FORMAT_1 ? TFIN_EMV_E_FORMAT_1 : TFIN_EMV_E_VALUE;
    return emv_fail(fault, error, FORMAT_1, offset);
}

int emv_find(const tfin_emv_config *config, const uint8_t *tlv, uint32_t size, uint32_t base,
             emv_found *found, tfin_emv_fault *fault)
{
    tfin_tlv_walk walk;
    tfin_tlv next;
    tfin_tlv_begin(&walk, tlv, size);
    for (;;) {
        int rc = tfin_tlv_next(&walk, &next);
        uint32_t offset = base + next.offset;
        if (rc == 0) {
            return TFIN_EMV_OK;
        }
        if (rc < 0) {
            return emv_fail(fault, rc, next.tag, offset);
        }
        rc = next.tag == FORMAT_1 ? keep_format_1(config->format_1, &next, offset, found, fault)
                                  : keep(next.tag, next.value, next.size, offset, found, fault);
        if (rc != TFIN_EMV_OK) {
            return rc;
        }
    }
}

int tfin_emv_read(const tfin_emv_config *config, const void *tlv, uint32_t size, void *record,
                  tfin_emv_facts *facts, tfin_emv_fault *fault)
{
    emv_found found;
    if (config == NULL || tlv == NULL || record == NULL || size > LONGEST) {
        return emv_fail(fault, TFIN_EMV_E_ARGUMENT, 0, 0);
    }
    memset(&found, 0, sizeof found);
    int rc = emv_find(config, tlv, size, 0, &found, fault);
    return rc != TFIN_EMV_OK ? rc : emv_take(config, &found, record, facts, fault);
}
