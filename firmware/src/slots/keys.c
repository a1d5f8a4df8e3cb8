/* SPDX-License-Identifier: Apache-2.0 */
#ifdef TFIN_PORT_FLASH
#include "keys.h"

#include <string.h>

#include "bytes.h"

/* in the sheet */
enum { AT_IDENTITY = 0, AT_SECRETS = 32, AT_AUDIT_KEY = 64, AT_MANIFEST = 96 };
/* of the identity's first piece */
enum { IDENTITY_MAGIC = 0x44494654, AT_ID = 4, ID_BYTES = 8, AT_STEP = 12, AT_HEAD = 16 };
enum { AT_CRC = 28, SEQUENCE_BYTES = 4, AT_RECORD_MAC = 24, HEAD_MAC_BYTES = 8 };
/* of a manifest */
enum { MANIFEST_MAGIC = 0x4D4B4654, AT_VERSION = 4, AT_RELEASE = 6, AT_COMMAND = 7 };
enum { AT_RELEASE_KEYS = 32, AT_COMMAND_KEYS = 96, AT_SIGNATURE = 160, KEYS_OF_A_KIND = 2 };

static uint32_t u32_at(const uint8_t *p)
{
    tfin_reader r = {p, p + 4, 0};
    return (uint32_t)tfin_get(&r, 4);
}

static void put_u32(uint8_t *p, uint32_t value)
{
    tfin_writer w = {p, p + 4, 0};
    tfin_put(&w, value, 4);
}

static int read_identity(const tfin_journal *j, uint8_t piece[TFIN_SHEET_PIECE])
{
    return tfin_port_flash_read(tfin_journal_sheet(j) + AT_IDENTITY, piece, TFIN_SHEET_PIECE) &&
           u32_at(piece) == IDENTITY_MAGIC &&
           u32_at(piece + AT_CRC) == tfin_crc32(0, piece, AT_CRC);
}

int tfin_keys_id(const tfin_journal *j, uint8_t id[ID_BYTES])
{
    uint8_t piece[TFIN_SHEET_PIECE];
    int there = read_identity(j, piece);
    memcpy(id, piece + AT_ID, ID_BYTES);
    return there;
}

uint32_t tfin_keys_audit_step(const tfin_journal *j)
{
    uint8_t piece[TFIN_SHEET_PIECE];
    return read_identity(j, piece) ? u32_at(piece + AT_STEP) : 0;
}

int tfin_keys_audit_head(const tfin_journal *j, uint8_t head[12])
{
    uint8_t piece[TFIN_SHEET_PIECE];
    int there = read_identity(j, piece);
    memcpy(head, piece + AT_HEAD, SEQUENCE_BYTES + HEAD_MAC_BYTES);
    return there;
}

/* ------------------------------------------------------------------------------------ manifest */

static int is_zero(const uint8_t *bytes, uint32_t size)
{
    while (size-- != 0) {
        if (bytes[size] != 0) {
            return 0;
        }
    }
    return 1;
}

/* At least one key of a kind; those that are used are different from all others, and not zero:
 * under a key of zeros anybody can sign. */
static int keys_are_right(const uint8_t *m)
{
    const uint8_t *used[2 * KEYS_OF_A_KIND];
    uint32_t count = 0;
    for (uint32_t kind = 0; kind < 2; kind++) {
        const uint8_t *keys = m + (kind == 0 ? AT_RELEASE_KEYS : AT_COMMAND_KEYS);
        uint32_t of_kind = m[AT_RELEASE + kind];
        if (of_kind - 1u >= KEYS_OF_A_KIND ||
            !is_zero(keys + of_kind * TFIN_KEY_BYTES,
                     (KEYS_OF_A_KIND - of_kind) * TFIN_KEY_BYTES)) {
            return 0;
        }
        for (uint32_t i = 0; i < of_kind; i++) {
            const uint8_t *key = keys + i * TFIN_KEY_BYTES;
            for (uint32_t k = 0; k < count; k++) {
                if (memcmp(used[k], key, TFIN_KEY_BYTES) == 0) {
                    return 0;
                }
            }
            if (is_zero(key, TFIN_KEY_BYTES)) {
                return 0;
            }
            used[count++] = key;
        }
    }
    return 1;
}

int tfin_keys_is_manifest(const uint8_t m[TFIN_MANIFEST_BYTES])
{
    if (u32_at(m) != MANIFEST_MAGIC) {
        return 0;
    }
    uint32_t crc = tfin_crc32(0, m, AT_CRC);
    crc = tfin_crc32(crc, m + AT_RELEASE_KEYS, AT_SIGNATURE - AT_RELEASE_KEYS);
    return u32_at(m + AT_CRC) == crc && keys_are_right(m);
}

/* The manifest that counts; null without one. */
static const uint8_t *manifest(const tfin_journal *j)
{
    const uint8_t *m = tfin_port_flash_at(tfin_journal_sheet(j) + AT_MANIFEST);
    return tfin_keys_is_manifest(m) ? m : NULL;
}

uint32_t tfin_keys_version_of(const uint8_t m[TFIN_MANIFEST_BYTES])
{
    return m[AT_VERSION] | (uint32_t)m[AT_VERSION + 1] << 8;
}

uint32_t tfin_keys_version(const tfin_journal *j)
{
    const uint8_t *m = manifest(j);
    return m != NULL ? tfin_keys_version_of(m) : 0;
}

int tfin_keys_is_here(const tfin_journal *j, const uint8_t m[TFIN_MANIFEST_BYTES])
{
    const uint8_t *here = manifest(j);
    return here != NULL && memcmp(here, m, TFIN_MANIFEST_BYTES) == 0;
}

const uint8_t *tfin_keys_command(const tfin_journal *j, const uint8_t *root, uint32_t number)
{
    const uint8_t *m = manifest(j);
    if (m == NULL) {
        return number == 0 ? root : NULL;
    }
    return number < m[AT_COMMAND] ? m + AT_COMMAND_KEYS + number * TFIN_KEY_BYTES : NULL;
}

void tfin_keys_trust(const tfin_journal *j, tfin_trust *trust)
{
    const uint8_t *m = manifest(j);
    if (m != NULL) {
        trust->keys = m + AT_RELEASE_KEYS;
        trust->key_count = m[AT_RELEASE];
    }
}

/* ------------------------------------------------------------------------------------- changes */

void tfin_keys_set_manifest(uint32_t at, uint8_t piece[TFIN_SHEET_PIECE], const void *context)
{
    if (at >= AT_MANIFEST) {
        memcpy(piece, (const uint8_t *)context + (at - AT_MANIFEST), TFIN_SHEET_PIECE);
    }
}

static void seal_identity(uint8_t *piece, uint32_t step)
{
    put_u32(piece, IDENTITY_MAGIC);
    put_u32(piece + AT_STEP, step);
    put_u32(piece + AT_CRC, tfin_crc32(0, piece, AT_CRC));
}

void tfin_keys_set_identity(uint32_t at, uint8_t piece[TFIN_SHEET_PIECE], const void *context)
{
    const uint8_t *identity = context;
    if (at == AT_IDENTITY) {
        memset(piece, 0, TFIN_SHEET_PIECE);
        memcpy(piece + AT_ID, identity, ID_BYTES);
        seal_identity(piece, 0);
    } else if (at < AT_MANIFEST) {
        memcpy(piece, identity + ID_BYTES + (at - AT_SECRETS), TFIN_SHEET_PIECE);
    }
}

void tfin_keys_step_audit(uint32_t at, uint8_t piece[TFIN_SHEET_PIECE], const void *context)
{
    const uint8_t *record = context;
    if (at == AT_IDENTITY) {
        if (record != NULL) {
            memcpy(piece + AT_HEAD, record, SEQUENCE_BYTES);
            memcpy(piece + AT_HEAD + SEQUENCE_BYTES, record + AT_RECORD_MAC, HEAD_MAC_BYTES);
        }
        seal_identity(piece, u32_at(piece + AT_STEP) + 1u);
    } else if (at == AT_AUDIT_KEY) {
        tfin_port_hash hash;
        tfin_port_hash_begin(&hash);
        tfin_port_hash_update(&hash, piece, TFIN_SHEET_PIECE);
        tfin_port_hash_end(&hash, piece);
    }
}

int tfin_keys_mac_begin(const tfin_journal *j, enum tfin_secret secret, tfin_port_hash *hash)
{
    uint8_t piece[TFIN_SHEET_PIECE];
    uint32_t at = AT_SECRETS + (uint32_t)secret * TFIN_SHEET_PIECE;
    if (!read_identity(j, piece) ||
        !tfin_port_flash_read(tfin_journal_sheet(j) + at, piece, sizeof piece)) {
        return 0;
    }
    tfin_port_hash_begin(hash);
    tfin_port_hash_update(hash, piece, sizeof piece);
    memset(piece, 0, sizeof piece);
    for (uint32_t i = 1; i < 4; i++) { /* the secret fills a block of BLAKE2b */
        tfin_port_hash_update(hash, piece, sizeof piece);
    }
    return 1;
}

/* A hash takes 200 bytes of stack, which what comes after it must not find taken. */
__attribute__((noinline)) int tfin_keys_mac(const tfin_journal *j, enum tfin_secret secret,
                                            const uint8_t *message, uint32_t size, uint8_t *mac,
                                            uint32_t mac_bytes)
{
    tfin_port_hash hash;
    uint8_t digest[32];
    if (!tfin_keys_mac_begin(j, secret, &hash)) {
        return 0;
    }
    tfin_port_hash_update(&hash, message, size);
    tfin_port_hash_end(&hash, digest);
    memcpy(mac, digest, mac_bytes);
    return 1;
}

#endif
