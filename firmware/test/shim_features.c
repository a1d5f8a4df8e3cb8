/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the engine needs to be loaded as a shared object by the tests of its features: its hash is
 * the caller's, its signature check says yes (packs and signatures have their own tests), and one
 * operator can be made wrong by one.
 */
#include "tinyfin_port.h"

#include <stdlib.h>
#include <string.h>

typedef void shim_hash(uint8_t digest[32], const uint8_t *data, size_t size);

static shim_hash *hash_of_caller;

/* Compile the engine with -DTFIN_SABOTAGE_OPERATOR=shim_sabotaged_operator: reading this operator
 * then gives one too many. 0: none. */
int shim_sabotaged_operator = 0;

void shim_use_hash(shim_hash *hash)
{
    hash_of_caller = hash;
}

size_t shim_engine_size(void)
{
    return sizeof(tfin_engine);
}

/* The caller hashes in one go: words[0] is what has come so far, words[1] its size. */
void tfin_port_hash_begin(tfin_port_hash *hash)
{
    hash->words[0] = hash->words[1] = 0;
}

void tfin_port_hash_update(tfin_port_hash *hash, const uint8_t *data, size_t size)
{
    uint8_t *held = realloc((void *)(uintptr_t)hash->words[0], (size_t)hash->words[1] + size);
    memcpy(held + hash->words[1], data, size);
    hash->words[0] = (uintptr_t)held;
    hash->words[1] += size;
}

void tfin_port_hash_end(tfin_port_hash *hash, uint8_t digest[32])
{
    hash_of_caller(digest, (const uint8_t *)(uintptr_t)hash->words[0], (size_t)hash->words[1]);
    free((void *)(uintptr_t)hash->words[0]);
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
