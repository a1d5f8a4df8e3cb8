/* SPDX-License-Identifier: Apache-2.0 */
/* Hash and signature by Monocypher 4 (build it with BLAKE2_NO_UNROLLING). Empty when the
 * project brings its own. */
#include "tinyfin_port.h"

#if !defined(TFIN_OWN_CRYPTO) && defined(__has_include)
#if __has_include("monocypher.h")
#define TFIN_MONOCYPHER 1
#endif
#endif

#ifdef TFIN_MONOCYPHER

#include "monocypher.h"

typedef char
    tfin_port_hash_is_large_enough[sizeof(crypto_blake2b_ctx) <= sizeof(tfin_port_hash) ? 1 : -1];

static crypto_blake2b_ctx *of(tfin_port_hash *hash)
{
    return (crypto_blake2b_ctx *)(void *)hash;
}

void tfin_port_hash_begin(tfin_port_hash *hash)
{
    crypto_blake2b_init(of(hash), 32);
}

void tfin_port_hash_update(tfin_port_hash *hash, const uint8_t *data, size_t size)
{
    crypto_blake2b_update(of(hash), data, size);
}

void tfin_port_hash_end(tfin_port_hash *hash, uint8_t digest[32])
{
    crypto_blake2b_final(of(hash), digest);
}

uint32_t tfin_port_verify(const uint8_t signature[64], const uint8_t public_key[32],
                          const uint8_t *message, size_t size)
{
    /* crypto_eddsa_check gives 0 or -1. When the return is skipped, another function may come back
     * to the line below with 0: then `proof` is wrong for good. */
    enum { STEP = 0x1357 };
    volatile uint32_t proof = TFIN_PORT_VERIFIED - STEP;
    proof = (proof ^ (uint32_t)crypto_eddsa_check(signature, public_key, message, size)) + STEP;
    return proof;
}

#ifdef TFIN_SEALED
void tfin_port_stream_key(uint8_t made[32], const uint8_t key[32], const uint8_t nonce[16])
{
    crypto_chacha20_h(made, key, nonce);
}

void tfin_port_stream_block(uint8_t block[64], const uint8_t key[32], const uint8_t nonce[8],
                            uint32_t number)
{
    (void)crypto_chacha20_djb(block, NULL, 64, key, nonce, number);
}
#endif

#else

typedef int tfin_port_monocypher_is_left_out; /* ISO C requires a declaration */

#endif
