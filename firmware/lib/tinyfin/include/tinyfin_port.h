/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the engine asks of a project: a hash, and a signature check.
 *
 * The default (tinyfin_port_monocypher.c, compiled when monocypher.h is there) uses Monocypher
 * built with BLAKE2_NO_UNROLLING. A terminal with a hardware hash or a security processor links its
 * own instead and leaves that file out (define TFIN_OWN_CRYPTO).
 */
#ifndef TINYFIN_PORT_H
#define TINYFIN_PORT_H

#include "tinyfin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* BLAKE2b with a digest of 32 bytes and no key (RFC 7693), of data that comes in pieces of at most
 * 4096 bytes: begin once, update any number of times, end once. The engine feeds the watchdog
 * between two pieces. `hash` is the port's own to fill; enough for Monocypher. */
typedef struct tfin_port_hash {
    uint64_t words[28];
} tfin_port_hash;
void tfin_port_hash_begin(tfin_port_hash *hash);
void tfin_port_hash_update(tfin_port_hash *hash, const uint8_t *data, size_t size);
void tfin_port_hash_end(tfin_port_hash *hash, uint8_t digest[32]);

/* TFIN_PORT_VERIFIED when `signature` (64 bytes) over `message` verifies under `public_key` (EdDSA
 * over Curve25519 with BLAKE2b, as crypto_eddsa_check of Monocypher), else any other number.
 * Compute it from the result of the check, not by a branch on it, and keep it in a volatile, as
 * tinyfin_port_monocypher.c does: then no single instruction that is skipped gives it. Without the
 * volatile a skipped return may come back to the computation with the result of another check. */
#define TFIN_PORT_VERIFIED 0x5A5A5A5Au
uint32_t tfin_port_verify(const uint8_t signature[64], const uint8_t public_key[32],
                          const uint8_t *message, size_t size);

/* Of a terminal application with TFIN_SEALED alone: XChaCha20 in its two steps. HChaCha20 makes the
 * key for a nonce from its first 16 bytes; under that key and its last 8 bytes ChaCha20 gives the
 * stream, here block `number` of it, 64 bytes. */
void tfin_port_stream_key(uint8_t made[32], const uint8_t key[32], const uint8_t nonce[16]);
void tfin_port_stream_block(uint8_t block[64], const uint8_t key[32], const uint8_t nonce[8],
                            uint32_t number);

#ifdef __cplusplus
}
#endif
#endif
