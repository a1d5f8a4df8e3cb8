/* SPDX-License-Identifier: Apache-2.0 */
/* Hash and signature by Monocypher 4 (build it with BLAKE2_NO_UNROLLING). Empty when the project brings its own. */
#include "tinyfin_port.h"

#if !defined(TFIN_OWN_CRYPTO) && defined(__has_include)
#if __has_include("monocypher.h")
#define TFIN_MONOCYPHER 1
#endif
#endif

#ifdef TFIN_MONOCYPHER

#include "monocypher.h"

enum { PIECE = 4096 };

void tfin_port_hash(uint8_t digest[32], const uint8_t *data, size_t size, tfin_progress *progress, void *context)
{
    crypto_blake2b_ctx hash;
    crypto_blake2b_init(&hash, 32);
    while (size > 0) {
        size_t piece = size < PIECE ? size : PIECE;
        crypto_blake2b_update(&hash, data, piece);
        data += piece;
        size -= piece;
        if (progress != NULL) {
            progress(context);
        }
    }
    crypto_blake2b_final(&hash, digest);
}

int tfin_port_verify(const uint8_t signature[64], const uint8_t public_key[32], const uint8_t *message, size_t size)
{
    return crypto_eddsa_check(signature, public_key, message, size) == 0;
}

#else

typedef int tfin_port_monocypher_is_left_out; /* ISO C wants a declaration */

#endif
