/* SPDX-License-Identifier: Apache-2.0 */
#ifdef TFIN_PORT_FLASH
#include "keys.h"

#include <stddef.h>
#include <string.h>

/* in the sheet */
enum { AT_IDENTITY = 0, AT_SECRETS = 32, AT_AUDIT_KEY = 64, AT_MANIFEST = 96 };
enum { AT_RECORD_MAC = 24 }; /* of a record of the audit log, which begins with its number */

typedef struct identity {
    uint32_t magic;
    uint8_t id[8];
    uint32_t audit_step;
    tfin_audit_head head; /* of the log, when the key was stepped last */
    uint32_t crc;         /* over the bytes before it */
} identity;
enum { IDENTITY_MAGIC = 0x44494654 };
_Static_assert(sizeof(identity) == TFIN_SHEET_PIECE, "an identity is a piece of the sheet");
_Static_assert(AT_MANIFEST + sizeof(tfin_manifest) == TFIN_SHEET_BYTES,
               "a manifest ends the sheet");

static int read_identity(const tfin_journal *j, identity *i)
{
    return tfin_port_flash_read(tfin_journal_sheet(j) + AT_IDENTITY, i, sizeof *i) &&
           i->magic == IDENTITY_MAGIC && i->crc == tfin_crc32(0, i, offsetof(identity, crc));
}

int tfin_keys_id(const tfin_journal *j, uint8_t id[8])
{
    identity i;
    int there = read_identity(j, &i);
    memcpy(id, i.id, sizeof i.id);
    return there;
}

uint32_t tfin_keys_audit_step(const tfin_journal *j)
{
    identity i;
    return read_identity(j, &i) ? i.audit_step : 0;
}

int tfin_keys_audit_head(const tfin_journal *j, tfin_audit_head *head)
{
    identity i;
    int there = read_identity(j, &i);
    *head = i.head;
    return there;
}

/* ------------------------------------------------------------------------------------ manifest */

int tfin_is_zero(const void *bytes, uint32_t size)
{
    const uint8_t *at = bytes;
    while (size-- != 0) {
        if (at[size] != 0) {
            return 0;
        }
    }
    return 1;
}

/* At least one key of a kind. Those that are used are not zero, for under a key of zeros anybody
 * can sign, and are different. */
static int keys_are_right(const tfin_manifest *m)
{
    const uint8_t *key = m->release[0];
    for (uint32_t i = 0; i < 2 * TFIN_KEYS_OF_A_KIND; i++, key += TFIN_KEY_BYTES) {
        uint32_t used = i < TFIN_KEYS_OF_A_KIND ? m->release_keys : m->command_keys;
        if (used > TFIN_KEYS_OF_A_KIND ||
            tfin_is_zero(key, TFIN_KEY_BYTES) != (i % TFIN_KEYS_OF_A_KIND >= used)) {
            return 0;
        }
        for (const uint8_t *other = m->release[0]; other < key; other += TFIN_KEY_BYTES) {
            if (!tfin_is_zero(key, TFIN_KEY_BYTES) && memcmp(other, key, TFIN_KEY_BYTES) == 0) {
                return 0;
            }
        }
    }
    return m->release_keys != 0 && m->command_keys != 0;
}

int tfin_keys_is_manifest(const tfin_manifest *m)
{
    if (m->magic != TFIN_MANIFEST_MAGIC) {
        return 0;
    }
    uint32_t crc = tfin_crc32(0, m, offsetof(tfin_manifest, crc));
    crc = tfin_crc32(crc, m->release,
                     offsetof(tfin_manifest, signature) - offsetof(tfin_manifest, release));
    return m->crc == crc && memcmp(m->root, tinyfin_root_key, sizeof m->root) == 0 &&
           tfin_is_zero(m->zero, sizeof m->zero) && keys_are_right(m);
}

const tfin_manifest *tfin_keys_manifest(const tfin_journal *j)
{
    uint32_t at = tfin_journal_sheet(j) + AT_MANIFEST;
    const tfin_manifest *m = tfin_port_flash_at(at);
    for (uint32_t i = 0; i < sizeof *m; i += TFIN_SHEET_PIECE) {
        uint8_t piece[TFIN_SHEET_PIECE]; /* what cannot be read must not be looked at in place */
        if (!tfin_port_flash_read(at + i, piece, sizeof piece)) {
            return NULL;
        }
    }
    return tfin_keys_is_manifest(m) ? m : NULL;
}

const uint8_t *tfin_keys_command(const tfin_journal *j, uint32_t number)
{
    const tfin_manifest *m = tfin_keys_manifest(j);
    if (m == NULL) {
        return number == 0 ? tinyfin_root_key : NULL;
    }
    return number < m->command_keys ? m->command[number] : NULL;
}

void tfin_keys_trust(const tfin_journal *j, tfin_trust *trust)
{
    const tfin_manifest *m = tfin_keys_manifest(j);
    if (m != NULL) {
        trust->keys = m->release[0];
        trust->key_count = m->release_keys;
    }
}

/* ------------------------------------------------------------------------------------- changes */

void tfin_keys_set_manifest(uint32_t at, uint8_t piece[TFIN_SHEET_PIECE], const void *context)
{
    if (at >= AT_MANIFEST) {
        memcpy(piece, (const uint8_t *)context + (at - AT_MANIFEST), TFIN_SHEET_PIECE);
    }
}

static void write_identity(uint8_t *piece, identity *i)
{
    i->magic = IDENTITY_MAGIC;
    i->crc = tfin_crc32(0, i, offsetof(identity, crc));
    memcpy(piece, i, sizeof *i);
}

void tfin_keys_set_identity(uint32_t at, uint8_t piece[TFIN_SHEET_PIECE], const void *context)
{
    const tfin_new_identity *new = context;
    if (at == AT_IDENTITY) {
        identity i = {0};
        memcpy(i.id, new->id, sizeof i.id);
        write_identity(piece, &i);
    } else if (at < AT_MANIFEST) {
        memcpy(piece, new->report_key + (at - AT_SECRETS), TFIN_SHEET_PIECE);
    }
}

void tfin_keys_step_audit(uint32_t at, uint8_t piece[TFIN_SHEET_PIECE], const void *context)
{
    const uint8_t *record = context;
    if (at == AT_IDENTITY) {
        identity i;
        memcpy(&i, piece, sizeof i);
        i.audit_step++;
        if (record != NULL) {
            memcpy(&i.head.sequence, record, sizeof i.head.sequence);
            memcpy(i.head.mac, record + AT_RECORD_MAC, sizeof i.head.mac);
        }
        write_identity(piece, &i);
    } else if (at == AT_AUDIT_KEY) {
        tfin_port_hash hash;
        tfin_port_hash_begin(&hash);
        tfin_port_hash_update(&hash, piece, TFIN_SHEET_PIECE);
        tfin_port_hash_end(&hash, piece);
    }
}

int tfin_keys_mac_begin(const tfin_journal *j, enum tfin_secret secret, tfin_port_hash *hash)
{
    identity i;
    uint8_t piece[TFIN_SHEET_PIECE];
    uint32_t at = AT_SECRETS + (uint32_t)secret * TFIN_SHEET_PIECE;
    if (!read_identity(j, &i) ||
        !tfin_port_flash_read(tfin_journal_sheet(j) + at, piece, sizeof piece)) {
        return 0;
    }
    tfin_port_hash_begin(hash);
    tfin_port_hash_update(hash, piece, sizeof piece);
    memset(piece, 0, sizeof piece);
    for (uint32_t k = 1; k < 4; k++) { /* the secret fills a block of BLAKE2b */
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
