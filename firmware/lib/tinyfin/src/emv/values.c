/* SPDX-License-Identifier: Apache-2.0 */
#include "values.h"

#include <string.h>

enum {
    SEPARATOR = 0xD, /* of track 2 */
    FILLER = 0xF,
    PAN_LEAST = 8,
    PAN_MOST = 19,
    BIN_LONG = 8,
    BIN_SHORT = 6,
    BIN_LONG_FROM = 16,
    CODE_MOST = 6,
    PREAUTHORISED = 6,
    DAY_S = 86400
};

/* Bits of `present`, in the order of the schema. */
enum bit {
    AMOUNT_MINOR,
    TOKEN,
    ENTRY_MODE,
    TRANSACTION_TYPE,
    MCC,
    CURRENCY,
    CVM,
    TVR,
    ATC,
    STAN,
    FLOOR_LIMIT_MINOR,
    BIN_HASH = 17,
    APPROVAL_HASH,
    EXPIRY_HASH = 20
};

enum entry { CONTACTLESS_CHIP, CHIP, CONTACTLESS_STRIPE, STRIPE, FALLBACK, KEYED, ON_FILE };
enum type { PURCHASE, CASH, CASHBACK, REFUND, VOID, PREAUTH, FORCED_POST };
enum cvm { ONLINE_PIN, OFFLINE_PIN, CDCVM, SIGNATURE, NO_CVM, FAILED };

typedef struct taking {
    const emv_found *found;
    tfin_emv_fault *fault;
    tfin_emv_payment record;
    tfin_emv_facts facts;
    int error; /* the first */
} taking;

int emv_fail(tfin_emv_fault *fault, int error, uint32_t what, uint32_t offset)
{
    if (fault != NULL) {
        *fault = (tfin_emv_fault){error, what, offset};
    }
    return error;
}

static const emv_value *value(const taking *t, enum emv_element element)
{
    const emv_value *v = &t->found->at[element];
    return v->data == NULL ? NULL : v;
}

static int64_t refuse(taking *t, const emv_value *v, int error)
{
    if (t->error == TFIN_EMV_OK) {
        t->error = emv_fail(t->fault, error, v->what, v->offset);
    }
    return -1;
}

static void mark(taking *t, enum bit bit)
{
    t->record.present |= UINT32_C(1) << bit;
}

/* Half byte i, or what a character of track 2 stands for; 16 for any other. */
static uint32_t nibble(const emv_value *v, uint32_t i)
{
    if (v->coding == EMV_PACKED) {
        i += v->pad;
        return (i & 1u) != 0 ? v->data[i / 2] & 0x0Fu : v->data[i / 2] >> 4;
    }
    uint8_t c = v->data[i];
    if (c >= '0' && c <= '9') {
        return (uint32_t)(c - '0');
    }
    return c == '=' || c == 'D' ? (uint32_t)SEPARATOR : c == 'F' ? (uint32_t)FILLER : 16u;
}

/* Digits first to first + count as a number (at most 18 of them), or -1. */
static int64_t digits(taking *t, const emv_value *v, uint32_t first, uint32_t count)
{
    int64_t number = 0;
    for (uint32_t i = first; i < first + count; i++) {
        uint32_t digit = nibble(v, i);
        if (digit > 9) {
            return refuse(t, v, TFIN_EMV_E_DIGIT);
        }
        number = number * 10 + digit;
    }
    return number;
}

/* A whole number of at most `most`, or -1 where it is not there or is refused. */
static int64_t number(taking *t, enum emv_element element, int64_t most)
{
    const emv_value *v = value(t, element);
    if (v == NULL) {
        return -1;
    }
    if (v->count == 0 || v->count > 18) {
        return refuse(t, v, TFIN_EMV_E_VALUE);
    }
    int64_t n = digits(t, v, 0, v->count);
    return n > most ? refuse(t, v, TFIN_EMV_E_VALUE) : n;
}

/* Its first two digits, or -1. */
static int64_t leading(taking *t, enum emv_element element)
{
    const emv_value *v = value(t, element);
    if (v == NULL) {
        return -1;
    }
    return v->count < 2 ? refuse(t, v, TFIN_EMV_E_VALUE) : digits(t, v, 0, 2);
}

static int64_t binary(taking *t, enum emv_element element)
{
    const emv_value *v = value(t, element);
    if (v == NULL) {
        return -1;
    }
    int64_t n = 0;
    for (uint32_t i = 0; i < v->count; i++) {
        n = n << 8 | v->data[i];
    }
    return n;
}

static uint32_t month_days(uint32_t year, uint32_t month)
{
    static const uint8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && year % 4 == 0 ? 1u : 0u); /* 2000 has its day, too */
}

/* Seconds since 2000-01-01, 0 for a date that there is not; years 0 to 99. */
static uint32_t seconds(uint32_t year, uint32_t month, uint32_t day, uint32_t time_s)
{
    if (month < 1 || month > 12 || day < 1 || day > month_days(year, month)) {
        return 0;
    }
    uint32_t days = 365u * year + (year + 3u) / 4u + day - 1u;
    for (uint32_t m = 1; m < month; m++) {
        days += month_days(year, m);
    }
    return days * DAY_S + time_s;
}

/* The year of `near_s`, the one before or after it: what is nearest. */
static uint32_t nearest(uint32_t near_s, uint32_t month, uint32_t day, uint32_t time_s)
{
    uint32_t year = near_s / DAY_S * 4u / 1461u, best = 0, best_away = UINT32_MAX;
    for (uint32_t y = year == 0 ? 0 : year - 1; y <= year + 1 && y < 100; y++) {
        uint32_t s = seconds(y, month, day, time_s);
        uint32_t away = s > near_s ? s - near_s : near_s - s;
        if (s != 0 && away < best_away) {
            best = s;
            best_away = away;
        }
    }
    return best;
}

static void take_time(taking *t, uint32_t near_s)
{
    const emv_value *time = value(t, EMV_TIME), *date = value(t, EMV_DATE);
    if (time == NULL) {
        return;
    }
    uint32_t behind = 0; /* ISO 8583:1993 writes date and time into DE12 */
    if (time->count == 12) {
        date = time;
        behind = 6;
    } else if (time->count != 6) {
        (void)refuse(t, time, TFIN_EMV_E_VALUE);
        return;
    }
    int64_t at = digits(t, time, behind, 6);
    uint32_t clock = (uint32_t)at, time_s = clock / 10000u * 3600u + clock / 100u % 100u * 60u;
    time_s += clock % 100u;
    if (at >= 0 && (clock >= 240000u || clock / 100u % 100u > 59u || clock % 100u > 59u)) {
        (void)refuse(t, time, TFIN_EMV_E_VALUE);
    }
    if (date == NULL) {
        return;
    }
    int has_year = date->count >= 6;
    if (!has_year && date->count != 4) {
        (void)refuse(t, date, TFIN_EMV_E_VALUE);
        return;
    }
    uint32_t day = (uint32_t)digits(t, date, 0, has_year ? 6 : 4);
    if (t->error != TFIN_EMV_OK || (!has_year && near_s == 0)) {
        return;
    }
    uint32_t month = day / 100u % 100u;
    t->facts.t_local_s = has_year ? seconds(day / 10000u, month, day % 100u, time_s)
                                  : nearest(near_s, month, day % 100u, time_s);
    if (t->facts.t_local_s == 0) {
        (void)refuse(t, date, TFIN_EMV_E_VALUE);
    }
}

static void take_entry_mode(taking *t)
{
    static const uint8_t modes[][2] = {
        {7, CONTACTLESS_CHIP}, {5, CHIP},     {95, CHIP},     {91, CONTACTLESS_STRIPE},
        {2, STRIPE},           {90, STRIPE},  {80, FALLBACK}, {1, KEYED},
        {79, KEYED},           {10, ON_FILE},
    };
    int64_t code = leading(t, EMV_ENTRY);
    for (uint32_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (modes[i][0] == code) {
            t->record.entry_mode = modes[i][1];
            mark(t, ENTRY_MODE);
        }
    }
}

/* Whether the code of an approval came from elsewhere: the terminal posts what was approved. */
static int is_forced(const taking *t)
{
    const emv_value *answer = value(t, EMV_RESPONSE), *cid = value(t, EMV_CID);
    if ((t->found->mti & 0x0FF0u) != 0x0120u && (t->found->mti & 0x0FF0u) != 0x0220u) {
        return 0;
    }
    return value(t, EMV_APPROVAL) != NULL && (answer == NULL || answer->data[0] != 'Y') &&
           (cid == NULL || (cid->data[0] & 0xC0u) != TFIN_EMV_TC);
}

static void take_type(taking *t)
{
    static const uint8_t types[][2] = {
        {0, PURCHASE}, {1, CASH}, {17, CASH}, {9, CASHBACK}, {20, REFUND}, {2, VOID}, {22, VOID},
    };
    int64_t code = leading(t, EMV_TYPE);
    if (code < 0) {
        return;
    }
    uint32_t i = 0, n = sizeof types / sizeof types[0];
    while (i < n && types[i][0] != code) {
        i++;
    }
    if (i == n) {
        (void)refuse(t, value(t, EMV_TYPE), TFIN_EMV_E_TYPE);
        return;
    }
    int32_t type = types[i][1];
    if (type == PURCHASE && number(t, EMV_CONDITION, 99) == PREAUTHORISED) {
        type = PREAUTH;
    }
    t->record.transaction_type = type == PURCHASE && is_forced(t) ? FORCED_POST : type;
    mark(t, TRANSACTION_TYPE);
}

static int32_t cvm_of(const taking *t)
{
    static const uint8_t methods[][2] = {
        {0x00, FAILED},      {0x01, OFFLINE_PIN}, {0x03, OFFLINE_PIN},
        {0x04, OFFLINE_PIN}, {0x05, OFFLINE_PIN}, {0x02, ONLINE_PIN},
        {0x1E, SIGNATURE},   {0x1F, NO_CVM},      {0x3F, NO_CVM},
    };
    const emv_value *results = value(t, EMV_CVM), *qualifiers = value(t, EMV_QUALIFIERS);
    int contactless =
        t->record.entry_mode == CONTACTLESS_CHIP || t->record.entry_mode == CONTACTLESS_STRIPE;
    if (qualifiers != NULL && (qualifiers->data[1] & 0x80u) != 0) {
        return CDCVM;
    }
    if (results == NULL) {
        return -1;
    }
    const uint8_t *r = results->data;
    if (r[2] == 1) {
        return FAILED;
    }
    if ((t->record.present & UINT32_C(1) << ENTRY_MODE) != 0 && contactless &&
        memcmp(r, "\x01\x00\x02", 3) == 0) {
        return CDCVM;
    }
    for (uint32_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (methods[i][0] == (r[0] & 0x3Fu)) {
            return methods[i][1];
        }
    }
    return -1;
}

static uint32_t hash16(const tfin_emv_config *config, enum tfin_emv_hashed what,
                       const uint8_t *text, uint32_t size)
{
    return (uint32_t)(config->hash(config->hash_context, what, text, size) & 0xFFFFu);
}

static void take_expiry(taking *t, const tfin_emv_config *config, const emv_value *v,
                        uint32_t first)
{
    uint8_t text[4];
    for (uint32_t i = 0; i < sizeof text; i++) {
        uint32_t digit = nibble(v, first + i);
        if (digit > 9) {
            (void)refuse(t, v, TFIN_EMV_E_DIGIT);
            return;
        }
        text[i] = (uint8_t)('0' + digit);
    }
    t->record.expiry_hash = (int32_t)hash16(config, TFIN_EMV_EXPIRY, text, sizeof text);
    mark(t, EXPIRY_HASH);
}

static void take_card(taking *t, const tfin_emv_config *config)
{
    const emv_value *track = value(t, EMV_TRACK_2), *pan = value(t, EMV_PAN);
    const emv_value *expiry = value(t, EMV_EXPIRY), *from = pan != NULL ? pan : track;
    volatile uint8_t text[PAN_MOST]; /* so that wiping it is not left out */
    uint32_t size = 0;
    if (expiry != NULL && expiry->count >= 4) {
        take_expiry(t, config, expiry, 0);
    }
    if (from == NULL) {
        return;
    }
    uint32_t count = from->count, digit = 0;
    while (size < count && (digit = nibble(from, size)) <= 9 && size < PAN_MOST) {
        text[size++] = (uint8_t)('0' + digit);
    }
    uint32_t end = size; /* of the digits, on a track of those behind its separator */
    int separated = from == track && size < count && digit == SEPARATOR;
    if (separated) {
        do {
            end++;
        } while (end < count && nibble(from, end) <= 9);
    }
    uint32_t filled = end;
    while (filled < count && nibble(from, filled) == FILLER) {
        filled++;
    }
    if (filled < count) {
        int too_long = filled == size && digit <= 9;
        (void)refuse(t, from, too_long ? TFIN_EMV_E_VALUE : TFIN_EMV_E_DIGIT);
    } else if (size < PAN_LEAST || (from == track && !separated)) {
        (void)refuse(t, from, TFIN_EMV_E_VALUE);
    } else {
        const uint8_t *digits_of = (const uint8_t *)text;
        t->record.token = config->hash(config->hash_context, TFIN_EMV_CARD, digits_of, size);
        if (t->record.token != 0) {
            mark(t, TOKEN);
        }
        uint32_t bin = size < BIN_LONG_FROM ? BIN_SHORT : BIN_LONG;
        t->record.bin_hash = (int32_t)hash16(config, TFIN_EMV_BIN, digits_of, bin);
        mark(t, BIN_HASH);
        if (expiry == NULL && end >= size + 5u) {
            take_expiry(t, config, from, size + 1u);
        }
    }
    for (uint32_t i = 0; i < size; i++) {
        text[i] = 0;
    }
}

static void take_answer(taking *t)
{
    static const uint8_t approved[] = {0, 8, 10, 11, 85};
    const emv_value *v = value(t, EMV_RESPONSE);
    if (v == NULL) {
        return;
    }
    if (v->count != 2) {
        (void)refuse(t, v, TFIN_EMV_E_VALUE);
        return;
    }
    uint32_t tens = nibble(v, 0), ones = nibble(v, 1);
    uint32_t yes = v->data[0] == 'Y' && (v->data[1] == '1' || v->data[1] == '3');
    if (tens <= 9 && ones <= 9) {
        t->facts.response = (int16_t)(tens * 10 + ones);
        for (uint32_t i = 0; i < sizeof approved; i++) {
            yes |= approved[i] == t->facts.response;
        }
    }
    t->facts.result = yes ? TFIN_RESULT_APPROVED : TFIN_RESULT_DECLINED;
}

static void take_facts(taking *t, uint32_t near_s)
{
    const emv_value *aid = value(t, EMV_AID);
    tfin_emv_facts *f = &t->facts;
    f->mti = t->found->mti;
    f->response = -1;
    f->result = TFIN_EMV_NO_RESULT;
    f->amount_other_minor = number(t, EMV_AMOUNT_OTHER, INT64_MAX);
    f->terminal_country = (int16_t)number(t, EMV_TERMINAL_COUNTRY, 999);
    f->issuer_country = (int16_t)number(t, EMV_ISSUER_COUNTRY, 999);
    f->terminal_type = (int16_t)number(t, EMV_TERMINAL_TYPE, 99);
    f->sequence = (int16_t)number(t, EMV_SEQUENCE, 999);
    f->cid = (int16_t)binary(t, EMV_CID);
    f->aip = (int32_t)binary(t, EMV_AIP);
    f->tsi = (int32_t)binary(t, EMV_TSI);
    if (aid != NULL) {
        f->aid = aid->data;
        f->aid_bytes = (uint8_t)aid->count;
    }
    take_time(t, near_s);
    take_answer(t);
}

static void put32(taking *t, int32_t *to, enum bit bit, int64_t n)
{
    if (n >= 0) {
        *to = (int32_t)n;
        mark(t, bit);
    }
}

static void put64(taking *t, int64_t *to, enum bit bit, int64_t n)
{
    if (n >= 0) {
        *to = n;
        mark(t, bit);
    }
}

int emv_take(const tfin_emv_config *config, const emv_found *found, void *record,
             tfin_emv_facts *facts, tfin_emv_fault *fault)
{
    taking taken, *t = &taken;
    memset(t, 0, sizeof *t);
    t->found = found;
    t->fault = fault;
    memcpy(&t->record, record, sizeof t->record);
    tfin_emv_payment *r = &t->record;
    put64(t, &r->amount_minor, AMOUNT_MINOR, number(t, EMV_AMOUNT, INT64_MAX));
    put32(t, &r->mcc, MCC, number(t, EMV_MCC, 9999));
    put32(t, &r->currency, CURRENCY, number(t, EMV_CURRENCY, 999));
    put32(t, &r->stan, STAN, number(t, EMV_STAN, 999999));
    put64(t, &r->tvr, TVR, binary(t, EMV_TVR));
    put32(t, &r->atc, ATC, binary(t, EMV_ATC));
    put64(t, &r->floor_limit_minor, FLOOR_LIMIT_MINOR, binary(t, EMV_FLOOR));
    take_entry_mode(t);
    take_type(t);
    put32(t, &r->cvm, CVM, cvm_of(t));
    take_facts(t, config->near_s);
    const emv_value *code = value(t, EMV_APPROVAL);
    if (config->hash != NULL && t->error == TFIN_EMV_OK) {
        take_card(t, config);
        if (code != NULL && code->count == CODE_MOST && code->coding == EMV_TEXT) {
            uint32_t hash = hash16(config, TFIN_EMV_APPROVAL, code->data, code->count);
            put32(t, &r->approval_hash, APPROVAL_HASH, (int64_t)hash);
        }
    }
    if (t->error != TFIN_EMV_OK) {
        return t->error;
    }
    memcpy(record, r, sizeof *r);
    if (facts != NULL) {
        *facts = t->facts;
    }
    return emv_fail(fault, TFIN_EMV_OK, 0, 0);
}
