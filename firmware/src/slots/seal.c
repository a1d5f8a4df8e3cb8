/* SPDX-License-Identifier: Apache-2.0 */
#if defined(TFIN_PORT_FLASH) && defined(TFIN_SEALED)
#include "seal.h"

#include <string.h>

#include "port.h"

enum { BLOCK = 64, IMAGE_PIECE = 64 };

/* What a key is used for; each use has a key of its own, made of it. */
enum use { USE_ID, USE_PACK, USE_STATE, USE_NONCE };
enum { USE_BYTES = 5 };
static const char use_names[][USE_BYTES + 1] = {"ident", "packs", "state", "nonce"};

__attribute__((weak)) int tfin_port_seal_key(uint32_t number, uint8_t key[32])
{
    (void)number;
    (void)key;
    return 0;
}

/* MAC of docs/formats/keys.md: the secret fills a block of BLAKE2b. */
static void mac_begin(tfin_port_hash *hash, const uint8_t secret[TFIN_KEY_BYTES])
{
    static const uint8_t zeros[128 - TFIN_KEY_BYTES];
    tfin_port_hash_begin(hash);
    tfin_port_hash_update(hash, secret, TFIN_KEY_BYTES);
    tfin_port_hash_update(hash, zeros, sizeof zeros);
}

static void key_for(enum use use, const uint8_t key[TFIN_KEY_BYTES], uint8_t made[TFIN_KEY_BYTES])
{
    tfin_port_hash hash;
    mac_begin(&hash, key);
    tfin_port_hash_update(&hash, (const uint8_t *)use_names[use], USE_BYTES);
    tfin_port_hash_end(&hash, made);
}

static int find(const tfin_journal *j, const uint8_t *id, uint8_t key[TFIN_KEY_BYTES])
{
    uint8_t found[TFIN_KEY_BYTES];
    for (uint32_t number = 0; number <= TFIN_SEAL_PORT_KEYS; number++) {
        int there = number == 0 ? tfin_keys_mac(j, TFIN_SECRET_REPORT, (const uint8_t *)"seal", 4,
                                                key, TFIN_KEY_BYTES)
                                : tfin_port_seal_key(number - 1u, key);
        if (there) {
            key_for(USE_ID, key, found);
            if (memcmp(found, id, TFIN_SEAL_ID_BYTES) == 0) {
                return 1;
            }
        } else if (number != 0) {
            return 0;
        }
    }
    return 0;
}

static void set(tfin_seal *seal, const uint8_t key[TFIN_KEY_BYTES],
                const uint8_t nonce[TFIN_SEAL_NONCE_BYTES])
{
    tfin_port_stream_key(seal->key, key, nonce);
    memcpy(seal->nonce, nonce + 16, sizeof seal->nonce);
    seal->used = 1;
}

int tfin_seal_begin(tfin_seal *seal, const tfin_journal *j,
                    const uint8_t announced[TFIN_SEAL_ANNOUNCED_BYTES])
{
    uint8_t key[TFIN_KEY_BYTES];
    if (!find(j, announced, key)) {
        return 0;
    }
    key_for(USE_PACK, key, key);
    set(seal, key, announced + TFIN_SEAL_ID_BYTES);
    return 1;
}

void tfin_seal_apply(const tfin_seal *seal, uint32_t offset, uint8_t *data, uint32_t size)
{
    uint8_t block[BLOCK];
    for (uint32_t i = 0; i < size; i++, offset++) {
        if (i == 0 || offset % BLOCK == 0) {
            tfin_port_stream_block(block, seal->key, seal->nonce, offset / BLOCK);
        }
        data[i] ^= block[offset % BLOCK];
    }
}

int tfin_seal_state(tfin_seal *seal, const tfin_journal *j, const uint8_t id[TFIN_SEAL_ID_BYTES],
                    const tfin_engine *engine, uint8_t nonce[TFIN_SEAL_NONCE_BYTES])
{
    uint8_t key[TFIN_KEY_BYTES], made[TFIN_KEY_BYTES], piece[IMAGE_PIECE];
    tfin_port_hash hash;
    if (!find(j, id, key)) {
        return 0;
    }
    key_for(USE_NONCE, key, made);
    mac_begin(&hash, made);
    uint32_t total = tfin_state_size(engine);
    for (uint32_t at = 0; at < total; at += IMAGE_PIECE) {
        uint32_t size = total - at < IMAGE_PIECE ? total - at : IMAGE_PIECE;
        if (tfin_export_state(engine, at, piece, size) != TFIN_OK) {
            return 0;
        }
        tfin_port_hash_update(&hash, piece, size);
    }
    tfin_port_hash_end(&hash, made);
    memcpy(nonce, made, TFIN_SEAL_NONCE_BYTES);
    key_for(USE_STATE, key, key);
    set(seal, key, nonce);
    return total != 0;
}

#endif
