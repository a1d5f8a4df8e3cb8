/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealed packs and state images: encrypted with XChaCha20 under a key that the terminal has, so
 * that who carries them reads nothing. Guide: docs/field.md. Format: docs/formats/sealed.md. In an
 * image when it is built with TFIN_SEALED.
 *
 *     tfin_seal_begin()   finds the key of a sealed pack
 *     tfin_seal_apply()   opens any piece of it, in place: the header, then data as it arrives
 *     tfin_seal_state()   seals an image of the state; tfin_seal_apply() for each piece of it
 *
 * A seal hides, it does not prove: that a pack is right says its signature, over what was opened.
 *
 * Keys: one of the terminal's own, made of its report key once it has an identity; then those that
 * the port gives (tfin_port_seal_key in port.h), of a fleet for example.
 */
#ifndef TFIN_SEAL_H
#define TFIN_SEAL_H

#include "keys.h"

enum {
    TFIN_SEAL_ID_BYTES = 8, /* names a key */
    TFIN_SEAL_NONCE_BYTES = 24,
    /* what PACK_BEGIN has behind the header: id of the key, nonce */
    TFIN_SEAL_ANNOUNCED_BYTES = TFIN_SEAL_ID_BYTES + TFIN_SEAL_NONCE_BYTES,
    TFIN_SEAL_PORT_KEYS = 8 /* the port is asked for no more */
};

typedef struct tfin_seal {
    uint8_t key[32]; /* for this nonce */
    uint8_t nonce[8];
    uint8_t used; /* 0: what comes is not sealed */
} tfin_seal;

/* 1, or 0: the terminal has no key of this id, and `seal` is as it was. */
int tfin_seal_begin(tfin_seal *seal, const tfin_journal *journal,
                    const uint8_t announced[TFIN_SEAL_ANNOUNCED_BYTES]);

/* Opens or seals, in place, the bytes from an offset of the pack or image on. */
void tfin_seal_apply(const tfin_seal *seal, uint32_t offset, uint8_t *data, uint32_t size);

/* For the state as it is now. The nonce is a MAC over the image, so no two images share one: ask
 * again for each piece, and a reader that finds another nonce begins again. Takes as long as an
 * export and a hash of the whole image. 1, or 0: no key of this id, or no state. */
int tfin_seal_state(tfin_seal *seal, const tfin_journal *journal,
                    const uint8_t id[TFIN_SEAL_ID_BYTES], const tfin_engine *engine,
                    uint8_t nonce[TFIN_SEAL_NONCE_BYTES]);

#endif
