/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From EMV data objects (BER-TLV) and ISO 8583 messages to the record of an event, and from a
 * verdict to terminal action analysis. It is no EMV kernel: it reads what a kernel has, and adds
 * caution to what the kernel proposes.
 *
 * Optional: a program that calls none of this links none of it. C99, integers, no heap, no globals,
 * no recursion; every byte that is read lies within the given size. A call takes at most 1 kB of
 * stack (your hash function not counted), and touches no engine.
 *
 *   [example]
 *   // your keyed hash: the card number is seen here and nowhere else
 *   static uint64_t hash(void *key, enum tfin_emv_hashed what, const uint8_t *text, uint32_t size)
 *   {
 *       return siphash(key, (uint32_t)what, text, size);
 *   }
 *
 *   TFIN_EMV_CHECK(tinyfin_payment_t); // the generated record begins as this header expects
 *
 *   // before the first GENERATE AC: `tlv` are the kernel's data objects, `proposed` is the result
 *   // of its terminal action analysis
 *   enum tfin_emv_cryptogram decide(tfin_engine *engine, const tfin_key *key, const uint8_t *tlv,
 *                                   uint32_t tlv_bytes, uint32_t now_s, uint64_t id,
 *                                   enum tfin_emv_cryptogram proposed)
 *   {
 *       tinyfin_payment_t tx = {0};
 *       tfin_emv_config config = {.hash = hash, .hash_context = (void *)key};
 *       tfin_emv_facts facts;
 *       tfin_emv_fault fault; // what is wrong, and where
 *       if (tfin_emv_read(&config, tlv, tlv_bytes, &tx, &facts, &fault) != TFIN_EMV_OK) {
 *           return tfin_emv_decide(proposed, TFIN_ACTION_GO_ONLINE); // your rule for such cards
 *       }
 *       tx.boots = boots_since_service(); // what only the terminal knows
 *       tx.present |= TINYFIN_PAYMENT_BOOTS;
 *       tfin_event event = {.id = id, .t_mono_s = now_s, .t_local_s = facts.t_local_s};
 *       event.record = &tx;
 *       event.record_size = sizeof tx;
 *       tfin_verdict verdict;
 *       if (tfin_score(engine, &event, &verdict) != TFIN_OK ||
 *           (verdict.flags & TFIN_FLAG_CONTROL) != 0) {
 *           return proposed; // without advice the kernel decides, as it does without tinyfin
 *       }
 *       return tfin_emv_decide(proposed, verdict.action);
 *   }
 *   [/example]
 *
 * WHICH FIELD COMES FROM WHERE
 *
 *   Tags by EMV Book 3 Annex A, data elements (DE) by ISO 8583:1987.
 *
 *   amount_minor       9F02 Amount, Authorised (Numeric)      DE4 Amount, transaction
 *   token, bin_hash    5A PAN; 57 Track 2 Equivalent Data     DE2 PAN; DE35 Track 2 data
 *   entry_mode         9F39 POS Entry Mode                    DE22 POS entry mode, digits 1-2
 *   transaction_type   9C Transaction Type                    DE3 Processing code, digits 1-2; DE25
 *   mcc                9F15 Merchant Category Code            DE18 Merchant's type
 *   currency           5F2A Transaction Currency Code         DE49 Currency code, transaction
 *   cvm                9F34 CVM Results; 9F6C Card Transaction Qualifiers (contactless kernel 3)
 *   tvr                95 Terminal Verification Results
 *   atc                9F36 Application Transaction Counter
 *   stan                                                      DE11 Systems trace audit number
 *   floor_limit_minor  9F1B Terminal Floor Limit
 *   approval_hash      89 Authorisation Code                  DE38 Authorisation id. response
 *   expiry_hash        5F24 Application Expiration Date; 57   DE14 Date, expiration; DE35
 *
 *   All others (offline, queued_minor, link_downs, boots, tamper_flags, chip_failures,
 *   operator_hash) only the terminal knows: fill them, and set their bits. Amounts are in minor
 *   units on both sides: n12 with the decimals that ISO 4217 gives to the currency.
 *
 *   DE55 is read too (tags), and gives what the data elements of the message do not. PAN wins over
 *   track 2. What is not there leaves its bit in `present` as it was: several pieces of data may
 *   fill one record, and a later call overwrites what an earlier one read.
 *
 *   entry_mode: 01, 79 keyed; 02, 90 stripe; 05, 95 chip; 07 contactless_chip; 10
 *   credential_on_file; 80 fallback; 91 contactless_stripe; any other code: absent.
 *   transaction_type: 00 purchase; 01, 17 cash; 09 cashback; 20 refund; 02, 22 void; any other code
 *   is refused (TFIN_EMV_E_TYPE), because an absent type reads as a purchase. DE25 = 06 makes a
 *   purchase a preauth; an advice (0120, 0220) with an authorisation code that no chip gave
 *   (DE39 is not Y1 or Y3, 9F27 says no TC) is a forced_post.
 *   cvm, by 9F34: third byte 1, or method 0: failed; 01, 03, 04, 05 offline_pin; 02 online_pin; 1E
 *   signature; 1F, 3F none; any other method: absent. cdcvm: 010002 of a contactless transaction
 *   (kernel 2), or bit 8 of the second byte of 9F6C.
 *
 * TLV
 *
 *   Templates (70, 77, 6F, A5, ...) are entered, TFIN_TLV_DEPTH deep; 00 between data objects is
 *   skipped. Refused: an indefinite length, a length of more bytes than it needs or of more than
 *   three, a tag of more than three bytes, a data object that ends behind its template. A tag of
 *   the list above that comes twice must have the same value. Tag 80 (response format 1) has no
 *   tags inside: config.format_1 says which command it answers.
 *
 * THE PROPOSAL OF THE KERNEL
 *
 *   action      at terminal action analysis, before the first GENERATE AC
 *   ACCEPT      nothing changes
 *   GO_ONLINE   a proposed TC becomes an ARQC: set "Merchant forced transaction online" (TVR byte 4
 *               bit 4, tfin_emv_force_online) where the kernel takes it, or ask for the ARQC
 *   DECLINE     an AAC is asked for, whatever was proposed
 *
 *   Nothing is ever more permissive than the kernel: its AAC stays one (tests try every pair). A
 *   terminal that cannot go online ends an ARQC by TAC/IAC-Default, as after any failed attempt.
 *   VERIFY is GO_ONLINE with TFIN_FLAG_VERIFY (tfin_advice): for the kernel it is GO_ONLINE, and a
 *   cardholder verification that succeeds afterwards takes nothing back. The issuer's answer
 *   (second GENERATE AC) stands: no advice turns a declined transaction into an approved one.
 *   Contactless kernels whose card decides before its data are known (kernel 3) get GO_ONLINE as
 *   "Online cryptogram required" in the TTQ (9F66 byte 2 bit 8), from a score without the card;
 *   what a score with the card adds afterwards can only decline.
 */
#ifndef TINYFIN_EMV_H
#define TINYFIN_EMV_H

#include "tinyfin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --------------------------------------------------------------------------------------- errors */

enum tfin_emv_error {
    TFIN_EMV_OK = 0,
    TFIN_EMV_E_ARGUMENT = -1,  /* a null pointer, or more than 65535 bytes */
    TFIN_EMV_E_TRUNCATED = -2, /* a tag, a length or a value ends behind the data or its template */
    TFIN_EMV_E_TAG = -3,       /* a tag of more than three bytes */
    TFIN_EMV_E_LENGTH = -4,    /* an indefinite, overlong or too large length */
    TFIN_EMV_E_DEPTH = -5,     /* templates within templates, too many */
    TFIN_EMV_E_TWICE = -6,     /* a tag comes again with another value */
    TFIN_EMV_E_DIGIT = -7,     /* a number, or what fills its half byte, is no digit or no 0 (F) */
    TFIN_EMV_E_VALUE = -8,     /* a value has the wrong size, or a number (the MTI too) its range */
    TFIN_EMV_E_TYPE = -9,      /* no transaction type of the schema: not to be scored */
    TFIN_EMV_E_FORMAT_1 = -10, /* tag 80, and config.format_1 does not say of what */
    TFIN_EMV_E_BITMAP = -11,   /* a bitmap that is no hexadecimal text, or names DE65 */
    TFIN_EMV_E_FIELD = -12,    /* a data element that the dialect does not describe */
    TFIN_EMV_E_EXTRA = -13     /* bytes behind the last data element */
};

/* What is refused, and where. */
typedef struct tfin_emv_fault {
    int error;       /* enum tfin_emv_error */
    uint32_t what;   /* the tag, or the number of the data element; 0: header, MTI, bitmap */
    uint32_t offset; /* bytes from the start of the data */
} tfin_emv_fault;

/* -------------------------------------------------------------------------------------- reading */

/* What is hashed for the record. Give each its own key, or put `what` into the hash. */
enum tfin_emv_hashed {
    TFIN_EMV_CARD = 0,    /* the PAN, 8 to 19 digits: the token, 64 bits */
    TFIN_EMV_BIN = 1,     /* its first 8 digits, 6 of a PAN of fewer than 16: 16 bits are used */
    TFIN_EMV_EXPIRY = 2,  /* YYMM: 16 bits are used */
    TFIN_EMV_APPROVAL = 3 /* the authorisation code as it was given: 16 bits are used */
};

/* A keyed hash of characters (digits as '0' to '9'). 0 of a card: no token. */
typedef uint64_t tfin_emv_hash(void *context, enum tfin_emv_hashed what, const uint8_t *text,
                               uint32_t size);

/* Which command a response in format 1 (tag 80) answers. */
enum tfin_emv_format_1 {
    TFIN_EMV_NO_FORMAT_1 = 0,
    TFIN_EMV_PROCESSING_OPTIONS = 1, /* AIP, AFL */
    TFIN_EMV_GENERATE_AC = 2         /* CID, ATC, cryptogram, issuer application data */
};

typedef struct tfin_emv_config {
    tfin_emv_hash *hash; /* null: no hashes; set the token yourself */
    void *hash_context;
    /* of ISO 8583: a local time (seconds since 2000-01-01) within half a year of the message's, for
     * the year that DE13 does not have; 0: t_local_s comes from DE55 or stays 0 */
    uint32_t near_s;
    uint8_t format_1; /* enum tfin_emv_format_1 */
} tfin_emv_config;

#define TFIN_EMV_NO_RESULT 255

/* What was read and is no field of the record; -1 for what was not there. */
typedef struct tfin_emv_facts {
    uint32_t t_local_s; /* 9A and 9F21, DE13 and DE12: seconds since 2000-01-01; 0: not there */
    uint16_t mti;       /* as it is written: 0x0200; 0 of TLV data */
    int16_t response;   /* 8A or DE39 as a number, for tfin_outcome.response */
    uint8_t result;     /* enum tfin_result by 8A or DE39, or TFIN_EMV_NO_RESULT: 00, 08, 10, 11,
                         * 85, Y1, Y3 approved; any other answer declined */
    uint8_t aid_bytes;  /* 84 DF Name, 4F or 9F06 AID: its bytes are in the data; 0: not there */
    const uint8_t *aid;
    int64_t amount_other_minor; /* 9F03 Amount, Other: cashback */
    int16_t terminal_country;   /* 9F1A, ISO 3166-1 numeric; DE19 Acquiring country */
    int16_t issuer_country;     /* 5F28; DE20 */
    int16_t terminal_type; /* 9F35, as written: 22 is attended, offline with online capability */
    int16_t sequence;      /* 5F34 PAN Sequence Number; DE23 */
    int16_t cid;           /* 9F27: bits 8-7 are enum tfin_emv_cryptogram */
    int32_t aip;           /* 82 */
    int32_t tsi;           /* 9B */
} tfin_emv_facts;

/* Fills a record from TLV data. `record` (aligned to 8) is the generated struct, which begins with
 * the fields of schema "payment" (TFIN_EMV_CHECK). facts and fault may be null. TFIN_EMV_OK, or an
 * error: then record and facts are as they were, and `fault` says where. */
int tfin_emv_read(const tfin_emv_config *config, const void *tlv, uint32_t size, void *record,
                  tfin_emv_facts *facts, tfin_emv_fault *fault);

/* How messages are written. A form is TFIN_ISO8583_N(6), _LLN(19), ...; 0: not described. */
#define TFIN_ISO8583_N(digits) (uint16_t)(0x1000u | (digits))   /* packed under TFIN_ISO8583_BCD */
#define TFIN_ISO8583_TEXT(bytes) (uint16_t)(0x2000u | (bytes))  /* a, an, ans */
#define TFIN_ISO8583_BYTES(bytes) (uint16_t)(0x3000u | (bytes)) /* b */
#define TFIN_ISO8583_SIGNED(digits) (uint16_t)(0x5000u | (digits)) /* x + n: a character before */
#define TFIN_ISO8583_LL(form) (uint16_t)(0x400u | (form)) /* up to so many, length before */
#define TFIN_ISO8583_LLL(form) (uint16_t)(0x800u | (form))

enum tfin_iso8583_flag {
    TFIN_ISO8583_BCD = 1,            /* numbers and MTI: two digits in a byte */
    TFIN_ISO8583_BCD_LENGTHS = 2,    /* LL in one byte, LLL in two */
    TFIN_ISO8583_BINARY_LENGTHS = 4, /* the same, as a binary number */
    TFIN_ISO8583_HEX_BITMAP = 8,     /* 16 characters in place of 8 bytes */
    TFIN_ISO8583_PAD_RIGHT = 16      /* an odd number of variable length fills its last half byte */
};

/* ISO 8583:1987; DE55 and other binary fields in bytes, not as hexadecimal text. */
extern const uint16_t tfin_iso8583_1987[129];

typedef struct tfin_iso8583_dialect {
    const uint16_t *forms; /* by number of the data element, 129; null: tfin_iso8583_1987 */
    uint8_t header_bytes;  /* before the MTI: 5 for a TPDU */
    uint8_t flags;         /* enum tfin_iso8583_flag, or'ed */
} tfin_iso8583_dialect;

/* The same from a message, from its header on, without what the transport puts before it. */
int tfin_iso8583_read(const tfin_emv_config *config, const tfin_iso8583_dialect *dialect,
                      const void *message, uint32_t size, void *record, tfin_emv_facts *facts,
                      tfin_emv_fault *fault);

/* ---------------------------------------------------- one by one, for fields of your own schema */

#define TFIN_TLV_DEPTH 4

/* A data object: a template comes before what is in it. */
typedef struct tfin_tlv {
    uint32_t tag;         /* as written: 0x9F02 */
    uint32_t size;        /* of the value, bytes */
    const uint8_t *value; /* in the data */
    uint32_t offset;      /* of the tag in the data */
    uint8_t constructed;
} tfin_tlv;

/* Do not rely on the contents. */
typedef struct tfin_tlv_walk {
    const uint8_t *data;
    uint32_t at, depth, ends[TFIN_TLV_DEPTH + 1];
} tfin_tlv_walk;

void tfin_tlv_begin(tfin_tlv_walk *walk, const void *data, uint32_t size);

/* 1: the next data object; 0: there is no more; or an error at found->offset, again and again. */
int tfin_tlv_next(tfin_tlv_walk *walk, tfin_tlv *found);

/* The first data object with a tag, wherever it is: 1, 0, or the error of what comes before it. */
int tfin_tlv_find(const void *data, uint32_t size, uint32_t tag, tfin_tlv *found);

/* A data element. `count` digits of a number that is packed, after `pad` half bytes; else bytes. */
typedef struct tfin_iso8583_field {
    const uint8_t *value;
    uint32_t size, count, offset;
    uint8_t number, packed, pad;
} tfin_iso8583_field;

/* Do not rely on the contents but for mti. */
typedef struct tfin_iso8583_walk {
    const uint8_t *data;
    const tfin_iso8583_dialect *dialect;
    uint32_t size, at, number;
    uint16_t mti; /* 0x0200 */
    uint8_t bitmap[16];
} tfin_iso8583_walk;

/* TFIN_EMV_OK, or an error in header, MTI or bitmap, at walk->at. The walk reads the dialect until
 * its end. */
int tfin_iso8583_begin(tfin_iso8583_walk *walk, const tfin_iso8583_dialect *dialect,
                       const void *message, uint32_t size);

/* 1: the next data element, in ascending order; 0: that was the last; or an error at
 * found->offset. */
int tfin_iso8583_next(tfin_iso8583_walk *walk, tfin_iso8583_field *found);

/* ------------------------------------------------------------------------------------ decisions */

/* Bits 8-7 of the Cryptogram Information Data (9F27), from the most cautious on by meaning. */
enum tfin_emv_cryptogram {
    TFIN_EMV_AAC = 0x00,  /* declined */
    TFIN_EMV_ARQC = 0x80, /* to the issuer */
    TFIN_EMV_TC = 0x40    /* approved offline */
};

/* What to ask the card for. `proposed` is the kernel's, `action` the verdict's. A proposal
 * that is none of the three is an AAC; an action above DECLINE counts as DECLINE. */
enum tfin_emv_cryptogram tfin_emv_decide(enum tfin_emv_cryptogram proposed, uint32_t action);

/* Sets "Merchant forced transaction online" in a TVR (tag 95) unless the action is ACCEPT; 1 if it
 * did. For kernels that take it before their terminal action analysis. */
int tfin_emv_force_online(uint8_t tvr[5], uint32_t action);

/* -------------------------------------------------------------------------------------- records */

/* How a record of schema "payment", and of all that extend it, begins. */
typedef struct __attribute__((may_alias)) tfin_emv_payment {
    uint32_t present, padding;
    int64_t amount_minor;
    uint64_t token;
    int32_t entry_mode, transaction_type, mcc, currency, cvm, padding_0;
    int64_t tvr;
    int32_t atc, stan;
    int64_t floor_limit_minor;
    int32_t offline, padding_1;
    int64_t queued_minor;
    int32_t link_downs, boots, tamper_flags, chip_failures;
    int32_t bin_hash, approval_hash, operator_hash, expiry_hash;
} tfin_emv_payment;

#define TFIN_EMV_AT(type, field) (offsetof(type, field) == offsetof(tfin_emv_payment, field))

/* Does not compile where `type`, a generated record, does not begin so. At file scope. */
#define TFIN_EMV_CHECK(type)                                                                    \
    typedef char tfin_emv_check_##type                                                          \
        [sizeof(type) >= sizeof(tfin_emv_payment) && TFIN_EMV_AT(type, amount_minor) &&         \
                 TFIN_EMV_AT(type, token) && TFIN_EMV_AT(type, transaction_type) &&             \
                 TFIN_EMV_AT(type, cvm) && TFIN_EMV_AT(type, tvr) && TFIN_EMV_AT(type, stan) && \
                 TFIN_EMV_AT(type, floor_limit_minor) && TFIN_EMV_AT(type, expiry_hash)         \
             ? 1                                                                                \
             : -1]

#ifdef __cplusplus
}
#endif
#endif
