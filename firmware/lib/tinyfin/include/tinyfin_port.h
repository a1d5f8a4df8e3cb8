/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two functions that the engine asks of a project: a hash and a signature check.
 *
 * The default (tinyfin_port_monocypher.c, compiled when monocypher.h is there) uses Monocypher built with BLAKE2_NO_UNROLLING. A terminal with
 * a hardware hash or a security processor links its own instead and leaves that file out (define TFIN_OWN_CRYPTO).
 */
#ifndef TINYFIN_PORT_H
#define TINYFIN_PORT_H

#include "tinyfin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* BLAKE2b with a digest of 32 bytes and no key (RFC 7693). Calls `progress` (when not null) at least every 4096 bytes. */
void tfin_port_hash(uint8_t digest[32], const uint8_t *data, size_t size, tfin_progress *progress, void *context);

/* 1 when `signature` (64 bytes) over `message` verifies under `public_key` (EdDSA over Curve25519 with BLAKE2b, as crypto_eddsa_check of
 * Monocypher), else 0. */
int tfin_port_verify(const uint8_t signature[64], const uint8_t public_key[32], const uint8_t *message, size_t size);

#ifdef __cplusplus
}
#endif
#endif
