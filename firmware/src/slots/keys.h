/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who this terminal is, and whom it obeys: its identity with two secrets, and the key manifest that
 * the root key signed. Both lie in the sheet of the journal. Format: docs/formats/keys.md.
 *
 * An identity is written once, in the factory. A manifest names at most two release keys, which
 * sign packs, and two command keys; the next one has a higher version and replaces it, which is how
 * a key is revoked. Without a manifest packs verify under the keys of the image, and the root key
 * is the only command key.
 */
#ifndef TFIN_KEYS_H
#define TFIN_KEYS_H

#include "journal.h"
#include "tinyfin.h"
#include "tinyfin_port.h"

enum { TFIN_KEY_BYTES = 32, TFIN_KEYS_OF_A_KIND = 2 };

/* The public root key; of the generated C. */
extern const uint8_t tinyfin_root_key[TFIN_KEY_BYTES];

/* As PROVISION brings it. */
typedef struct __attribute__((may_alias)) tfin_new_identity {
    uint8_t id[8]; /* not all zero */
    uint8_t report_key[32];
    uint8_t audit_key[32];
} tfin_new_identity;

typedef struct __attribute__((may_alias)) tfin_manifest {
    uint32_t magic;       /* TFIN_MANIFEST_MAGIC */
    uint16_t version;     /* never falls */
    uint8_t release_keys; /* so many are used, 1 or 2; the others are zero */
    uint8_t command_keys;
    uint8_t root[8]; /* how the root key begins: another image may have another one */
    uint32_t zero[3];
    uint32_t crc; /* over all but itself and the signature */
    uint8_t release[TFIN_KEYS_OF_A_KIND][TFIN_KEY_BYTES];
    uint8_t command[TFIN_KEYS_OF_A_KIND][TFIN_KEY_BYTES];
    uint8_t signature[64]; /* of the root key, over all before */
} tfin_manifest;
enum { TFIN_MANIFEST_MAGIC = 0x4D4B4654 };

/* 1 and the 8 bytes of the terminal's id, or 0: it has no identity. */
int tfin_keys_id(const tfin_journal *journal, uint8_t id[8]);

/* The manifest that counts; null when there is none, or it was damaged. */
const tfin_manifest *tfin_keys_manifest(const tfin_journal *journal);

/* A command key: number 0 or 1 of the manifest, or the root key when there is none. Null when there
 * is no such key. */
const uint8_t *tfin_keys_command(const tfin_journal *journal, uint32_t number);

/* Puts the manifest's release keys into `trust`; leaves it as it is when there is none. */
void tfin_keys_trust(const tfin_journal *journal, tfin_trust *trust);

/* What is right of a manifest but for its signature. */
int tfin_keys_is_manifest(const tfin_manifest *manifest);

/* What tfin_journal_renew takes to write an identity (the 72 bytes of PROVISION), a manifest, and
 * the next audit key with the head of the chain so far: a record of the audit log, or null: the
 * head stays as it is. */
void tfin_keys_set_identity(uint32_t at, uint8_t piece[TFIN_SHEET_PIECE], const void *identity);
void tfin_keys_set_manifest(uint32_t at, uint8_t piece[TFIN_SHEET_PIECE], const void *manifest);
void tfin_keys_step_audit(uint32_t at, uint8_t piece[TFIN_SHEET_PIECE], const void *record);

/* Whether all of it is zero. */
int tfin_is_zero(const void *bytes, uint32_t size);

/* The newest record of the audit log. */
typedef struct tfin_audit_head {
    uint32_t sequence;
    uint8_t mac[8];
} tfin_audit_head;

/* How often the audit key was stepped; the head that was given then, zeros before the first step.
 * 0: there is no identity. */
uint32_t tfin_keys_audit_step(const tfin_journal *journal);
int tfin_keys_audit_head(const tfin_journal *journal, tfin_audit_head *head);

enum tfin_secret { TFIN_SECRET_REPORT, TFIN_SECRET_AUDIT };

/* Begins a MAC under a secret of the terminal: BLAKE2b-256 of the secret, 96 bytes of zero, and
 * what follows through tfin_port_hash_update and tfin_port_hash_end. 0 without an identity. */
int tfin_keys_mac_begin(const tfin_journal *journal, enum tfin_secret secret, tfin_port_hash *hash);

/* The first bytes, up to 32, of the MAC of a message. 0 without an identity. */
int tfin_keys_mac(const tfin_journal *journal, enum tfin_secret secret, const uint8_t *message,
                  uint32_t size, uint8_t *mac, uint32_t mac_bytes);

#endif
