/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port that finds every digest right and every signature good: behind it stands what the engine
 * does with a pack that a careless or evil holder of a trusted key has signed. rig_accept() writes
 * the digest that it gives. The id of a pack, the hash of 160 bytes, differs with its counter.
 */
#include <string.h>

#include "tinyfin_port.h"

void tfin_port_hash_begin(tfin_port_hash *hash)
{
    hash->words[0] = 0;
}

void tfin_port_hash_update(tfin_port_hash *hash, const uint8_t *data, size_t size)
{
    hash->words[0] = 0;
    if (size == 160) {
        memcpy(&hash->words[0], data + 16, 4);
    }
}

void tfin_port_hash_end(tfin_port_hash *hash, uint8_t digest[32])
{
    memset(digest, 0x5A, 32);
    digest[0] = (uint8_t)(0x5A ^ hash->words[0]);
    digest[1] = (uint8_t)(0x5A ^ hash->words[0] >> 8);
}

uint32_t tfin_port_verify(const uint8_t signature[64], const uint8_t public_key[32],
                          const uint8_t *message, size_t size)
{
    (void)signature;
    (void)public_key;
    (void)message;
    (void)size;
    return TFIN_PORT_VERIFIED;
}

/* A cipher that is none: the stream tells its key, its nonce and its block. */
void tfin_port_stream_key(uint8_t made[32], const uint8_t key[32], const uint8_t nonce[16])
{
    memcpy(made, key, 32);
    made[0] ^= nonce[0];
}

void tfin_port_stream_block(uint8_t block[64], const uint8_t key[32], const uint8_t nonce[8],
                            uint32_t number)
{
    memset(block, key[0] ^ nonce[0] ^ (int)(number & 0xFFu), 64);
}
