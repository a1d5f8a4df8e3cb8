/* SPDX-License-Identifier: Apache-2.0 */
/* A terminal takes a pack into service that arrived while another one runs. The tests run this
 * file; docs/firmware.md explains it. */
#include "tinyfin.h"
#include "tinyfin_pack.h"

/* Packs to come may need more than the one that the firmware was built with. */
enum { MEMORY_BYTES = TINYFIN_MEMORY_BYTES + 4096, IMAGE_BYTES = TINYFIN_STATE_BYTES + 4096 };

static uint8_t engine_memory[MEMORY_BYTES] __attribute__((aligned(TFIN_ALIGN)));
static uint8_t image[IMAGE_BYTES];
static tfin_engine engine;
static tfin_verified running;    /* the receipt of the pack in service */
static uint32_t highest_counter; /* at boot: from storage that can only grow */

static tfin_trust make_trust(void)
{
    tfin_trust t = {0};
    /* of the header that this firmware was compiled with, whatever pack comes */
    t.record = tinyfin_record;
    t.keys = tinyfin_trusted_keys;
    t.key_count = TINYFIN_TRUSTED_KEYS;
    t.minimum_security_counter = highest_counter;
    return t;
}

/* At boot. After a replacement the pack is the new one, wherever the application has
 * noted that it lies. */
int start(const void *pack, size_t pack_bytes)
{
    tfin_trust t = make_trust();
    int rc = tfin_verify(&running, pack, pack_bytes, &t);
    return rc == TFIN_OK ? tfin_bind(&engine, &running, engine_memory, sizeof engine_memory) : rc;
}

/* Binds a verified pack and gives it the exported state, if it is of the same feature program;
 * else it begins cold. */
static int serve(const tfin_verified *receipt, uint32_t image_bytes)
{
    int rc = tfin_bind(&engine, receipt, engine_memory, sizeof engine_memory);
    if (rc != TFIN_OK || tfin_state_size(&engine) != image_bytes) {
        return rc;
    }
    rc = tfin_import_state(&engine, 0, image, image_bytes);
    return rc == TFIN_E_STATE_LAYOUT ? TFIN_OK : rc;
}

/* `fresh` lies whole and aligned to TFIN_ALIGN where it will stay. On an error the old pack
 * runs on with its state. */
int replace(const void *fresh, size_t fresh_bytes)
{
    tfin_verified checked;
    tfin_trust t = make_trust();
    int rc = tfin_verify(&checked, fresh, fresh_bytes, &t); /* the old pack is still in service */
    if (rc != TFIN_OK) {
        return rc;
    }
    uint32_t image_bytes = tfin_state_size(&engine);
    if (checked.memory_bytes > sizeof engine_memory || image_bytes > sizeof image) {
        return TFIN_E_MEMORY;
    }
    rc = tfin_export_state(&engine, 0, image, image_bytes); /* both packs use one memory */
    if (rc != TFIN_OK) {
        return rc;
    }
    rc = serve(&checked, image_bytes);
    if (rc != TFIN_OK) { /* a golden vector: this core gives other scores than the workstation */
        int back = serve(&running, image_bytes);
        return back == TFIN_OK ? rc : back;
    }
    running = checked;
    if (tfin_security_counter(&engine) > highest_counter) {
        highest_counter = tfin_security_counter(&engine); /* and into the storage */
    }
    return TFIN_OK;
}
