/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "values.h"

#define N(digits) TFIN_ISO8583_N(digits)
#define TEXT(bytes) TFIN_ISO8583_TEXT(bytes)
#define BYTES(bytes) TFIN_ISO8583_BYTES(bytes)
#define SIGNED(digits) TFIN_ISO8583_SIGNED(digits)
#define LL(form) TFIN_ISO8583_LL(form)
#define LLL(form) TFIN_ISO8583_LLL(form)
#define PRIVATE LLL(TEXT(999))

enum {
    ELEMENTS = 128,
    FORM_SIZE = 0x3FF,
    FORM_LL = 0x400,
    FORM_LLL = 0x800,
    FORM_KIND = 0x3000,
    FORM_NUMBER = 0x1000,
    FORM_SIGNED = 0x4000,
    LONGEST = 0xFFFF,
    MORE_BITMAPS = 65,
    ICC_DATA = 55
};

const uint16_t tfin_iso8583_1987[ELEMENTS + 1] = {
    /* clang-format off */
    0,            BYTES(8),     LL(N(19)),    N(6),         N(12),        N(12),        N(12),
    N(10),        N(8),         N(8),         N(8),         N(6),         N(6),         N(4),
    N(4),         N(4),         N(4),         N(4),         N(4),         N(3),         N(3),
    N(3),         N(3),         N(3),         N(3),         N(2),         N(2),         N(1),
    SIGNED(8),    SIGNED(8),    SIGNED(8),    SIGNED(8),    LL(N(11)),    LL(N(11)),    LL(TEXT(28)),
    LL(N(37)),    LLL(N(104)),  TEXT(12),     TEXT(6),      TEXT(2),      TEXT(3),      TEXT(8),
    TEXT(15),     TEXT(40),     LL(TEXT(25)), LL(TEXT(76)), PRIVATE,      PRIVATE,      PRIVATE,
    N(3),         N(3),         N(3),         BYTES(8),     N(16),        LLL(TEXT(120)),
    LLL(BYTES(999)),
    PRIVATE,      PRIVATE,      PRIVATE,      PRIVATE,      PRIVATE,      PRIVATE,      PRIVATE,
    PRIVATE,      BYTES(8),     0,            N(1),         N(2),         N(3),         N(3),
    N(3),         N(4),         N(4),         N(6),         N(10),        N(10),        N(10),
    N(10),        N(10),        N(10),        N(10),        N(10),        N(12),        N(12),
    N(12),        N(12),        N(16),        N(16),        N(16),        N(16),        N(42),
    TEXT(1),      TEXT(2),      TEXT(5),      TEXT(7),      TEXT(42),     BYTES(8),     SIGNED(16),
    TEXT(25),     LL(N(11)),    LL(N(11)),    LL(TEXT(17)), LL(TEXT(28)), LL(TEXT(28)), LLL(TEXT(100)),
    PRIVATE,      PRIVATE,      PRIVATE,      PRIVATE,      PRIVATE,      PRIVATE,      PRIVATE,
    PRIVATE,      PRIVATE,      PRIVATE,      PRIVATE,      PRIVATE,      PRIVATE,      PRIVATE,
    PRIVATE,      PRIVATE,      PRIVATE,      PRIVATE,      PRIVATE,      PRIVATE,      PRIVATE,
    PRIVATE,      PRIVATE,      BYTES(8),
    /* clang-format on */
};

/* `count` digits, two in a byte or one in a character, as a number; -1 where one is none. */
static int32_t short_number(const uint8_t *data, uint32_t count, int packed)
{
    int32_t number = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t digit =
            packed ? (data[i / 2] >> ((i & 1u) != 0 ? 0 : 4)) & 0x0Fu : (uint32_t)data[i] - '0';
        if (digit > 9) {
            return -1;
        }
        number = number * 10 + (int32_t)digit;
    }
    return number;
}

static int bitmap_bytes(const uint8_t *text, uint8_t *to)
{
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t c = text[i];
        uint32_t digit = c >= '0' && c <= '9'   ? c - '0'
                         : c >= 'A' && c <= 'F' ? c - 'A' + 10u
                         : c >= 'a' && c <= 'f' ? c - 'a' + 10u
                                                : 16u;
        if (digit > 15) {
            return 0;
        }
        to[i / 2] = (uint8_t)((uint32_t)to[i / 2] << 4 | digit);
    }
    return 1;
}

static int has(const uint8_t *bitmap, uint32_t element)
{
    return bitmap[(element - 1) / 8] >> (7 - (element - 1) % 8) & 1;
}

int tfin_iso8583_begin(tfin_iso8583_walk *walk, const tfin_iso8583_dialect *dialect,
                       const void *message, uint32_t size)
{
    if (walk == NULL || dialect == NULL || message == NULL || size > LONGEST) {
        return TFIN_EMV_E_ARGUMENT;
    }
    memset(walk, 0, sizeof *walk);
    walk->data = message;
    walk->dialect = dialect;
    walk->size = size;
    int packed = (dialect->flags & TFIN_ISO8583_BCD) != 0;
    int hex = (dialect->flags & TFIN_ISO8583_HEX_BITMAP) != 0;
    uint32_t mti_bytes = packed ? 2 : 4, map_bytes = hex ? 16 : 8;
    if (size < dialect->header_bytes + mti_bytes) {
        return TFIN_EMV_E_TRUNCATED;
    }
    walk->at = dialect->header_bytes;
    int32_t mti = short_number(walk->data + walk->at, 4, packed);
    if (mti < 0 || mti > 999) { /* the first digit is the version: 0 is that of 1987 */
        return mti < 0 ? TFIN_EMV_E_DIGIT : TFIN_EMV_E_VALUE;
    }
    for (uint32_t i = 0; i < 4; i++, mti /= 10) {
        walk->mti |= (uint16_t)((uint32_t)(mti % 10) << (4 * i));
    }
    walk->at += mti_bytes;
    for (uint32_t i = 0; i == 0 || (i == 1 && has(walk->bitmap, 1)); i++) {
        const uint8_t *map = walk->data + walk->at;
        if (size - walk->at < map_bytes) {
            return TFIN_EMV_E_TRUNCATED;
        }
        if (!hex) {
            memcpy(walk->bitmap + 8 * i, map, 8);
        } else if (!bitmap_bytes(map, walk->bitmap + 8 * i)) {
            return TFIN_EMV_E_BITMAP;
        }
        walk->at += map_bytes;
    }
    walk->number = 1;
    return has(walk->bitmap, MORE_BITMAPS) ? TFIN_EMV_E_BITMAP : TFIN_EMV_OK;
}

int tfin_iso8583_next(tfin_iso8583_walk *walk, tfin_iso8583_field *found)
{
    const tfin_iso8583_dialect *dialect = walk->dialect;
    uint32_t number = walk->number, at = walk->at;
    memset(found, 0, sizeof *found);
    found->offset = at;
    do {
        number++;
    } while (number <= ELEMENTS && !has(walk->bitmap, number));
    if (number > ELEMENTS) {
        return at == walk->size ? 0 : TFIN_EMV_E_EXTRA;
    }
    found->number = (uint8_t)number;
    uint16_t form = (dialect->forms == NULL ? tfin_iso8583_1987 : dialect->forms)[number];
    if ((form & FORM_KIND) == 0) {
        return TFIN_EMV_E_FIELD;
    }
    uint32_t count = form & FORM_SIZE, variable = form & (FORM_LL | FORM_LLL);
    if (variable != 0) {
        uint32_t digits = variable == FORM_LL ? 2 : 3, bytes = digits;
        int binary = (dialect->flags & TFIN_ISO8583_BINARY_LENGTHS) != 0;
        int packed = (dialect->flags & TFIN_ISO8583_BCD_LENGTHS) != 0;
        if (binary || packed) {
            bytes = digits - 1;
            digits = 2 * bytes;
        }
        if (walk->size - at < bytes) {
            return TFIN_EMV_E_TRUNCATED;
        }
        const uint8_t *length = walk->data + at;
        int32_t said = !binary      ? short_number(length, digits, packed)
                       : bytes == 1 ? length[0]
                                    : length[0] << 8 | length[1];
        if (said < 0 || (uint32_t)said > count) {
            return said < 0 ? TFIN_EMV_E_DIGIT : TFIN_EMV_E_LENGTH;
        }
        count = (uint32_t)said;
        at += bytes;
    }
    uint32_t before = (form & FORM_SIGNED) != 0;
    found->packed = (form & FORM_KIND) == FORM_NUMBER && (dialect->flags & TFIN_ISO8583_BCD) != 0;
    found->size = before + (found->packed ? (count + 1) / 2 : count);
    if (walk->size - at < found->size) {
        return TFIN_EMV_E_TRUNCATED;
    }
    found->value = walk->data + at;
    if (found->packed && (count & 1u) != 0) {
        int right = variable != 0 && (dialect->flags & TFIN_ISO8583_PAD_RIGHT) != 0;
        uint8_t fill = right ? found->value[found->size - 1] & 0x0F : found->value[before] >> 4;
        if (fill != 0 && !(right && fill == 0x0F)) {
            return TFIN_EMV_E_DIGIT;
        }
        found->pad = !right;
    }
    found->pad = (uint8_t)(found->pad + 2 * before);
    found->count = found->packed ? count : found->size;
    walk->at = at + found->size;
    walk->number = number;
    return 1;
}

static const struct {
    uint8_t number, element, text;
} wanted[] = {
    {2, EMV_PAN, 0},
    {3, EMV_TYPE, 0},
    {4, EMV_AMOUNT, 0},
    {11, EMV_STAN, 0},
    {12, EMV_TIME, 0},
    {13, EMV_DATE, 0},
    {14, EMV_EXPIRY, 0},
    {18, EMV_MCC, 0},
    {19, EMV_TERMINAL_COUNTRY, 0},
    {20, EMV_ISSUER_COUNTRY, 0},
    {22, EMV_ENTRY, 0},
    {23, EMV_SEQUENCE, 0},
    {25, EMV_CONDITION, 0},
    {35, EMV_TRACK_2, 0},
    {38, EMV_APPROVAL, 1},
    {39, EMV_RESPONSE, 1},
    {49, EMV_CURRENCY, 0},
};

static void keep(emv_found *found, const tfin_iso8583_field *field)
{
    for (uint32_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        if (wanted[i].number == field->number && field->count > 0) {
            uint8_t coding = field->packed ? EMV_PACKED : EMV_TEXT;
            found->at[wanted[i].element] = (emv_value){
                field->value,           field->number, field->offset,
                (uint16_t)field->count, coding,        field->pad,
            };
        }
    }
}

int tfin_iso8583_read(const tfin_emv_config *config, const tfin_iso8583_dialect *dialect,
                      const void *message, uint32_t size, void *record, tfin_emv_facts *facts,
                      tfin_emv_fault *fault)
{
    tfin_iso8583_walk walk;
    tfin_iso8583_field field, icc = {0};
    emv_found found;
    if (config == NULL || record == NULL) {
        return emv_fail(fault, TFIN_EMV_E_ARGUMENT, 0, 0);
    }
    int rc = tfin_iso8583_begin(&walk, dialect, message, size);
    if (rc != TFIN_EMV_OK) {
        return emv_fail(fault, rc, 0, rc == TFIN_EMV_E_ARGUMENT ? 0 : walk.at);
    }
    memset(&found, 0, sizeof found);
    found.mti = walk.mti;
    while ((rc = tfin_iso8583_next(&walk, &field)) == 1) {
        keep(&found, &field);
        if (field.number == ICC_DATA) {
            icc = field;
        }
    }
    if (rc < 0) {
        return emv_fail(fault, rc, field.number, field.offset);
    }
    if (icc.value != NULL) {
        uint32_t base = (uint32_t)(icc.value - walk.data);
        rc = emv_find(config, icc.value, icc.size, base, &found, fault);
        if (rc != TFIN_EMV_OK) {
            return rc;
        }
    }
    return emv_take(config, &found, record, facts, fault);
}
