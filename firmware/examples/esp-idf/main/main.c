/* SPDX-License-Identifier: Apache-2.0 */
/* Scoring under ESP-IDF: the pack lies in a partition of its own, where it can be replaced without
 * the firmware, and the state outlives a restart in NVS. docs/ecosystems.md says how to build it.
 */
#include <stdio.h>

#include "esp_err.h"
#include "esp_partition.h"
#include "esp_task_wdt.h"
#include "esp_timer.h"
#include "nvs.h"
#include "nvs_flash.h"

#include "payment.h"

#define PACK_SUBTYPE ((esp_partition_subtype_t)0x40) /* 0x40 and up are the application's */

static uint8_t image[TINYFIN_STATE_BYTES];
static uint32_t before_s; /* how long the terminal ran before it was started this time */

/* Never runs backwards, restarts or not. A clock with a battery would count on without power. */
static uint32_t now_s(void)
{
    return before_s + (uint32_t)(esp_timer_get_time() / 1000000);
}

static void feed(void *context)
{
    (void)context;
    (void)esp_task_wdt_reset();
}

/* The pack of the partition "tfpack"; without one that opens, the pack in the image. The mapping is
 * kept, because the engine reads the pack where it lies. */
static int start(void)
{
    const esp_partition_t *partition =
        esp_partition_find_first(ESP_PARTITION_TYPE_DATA, PACK_SUBTYPE, "tfpack");
    const void *pack = NULL;
    esp_partition_mmap_handle_t mapping;
    if (partition != NULL &&
        esp_partition_mmap(partition, 0, partition->size, ESP_PARTITION_MMAP_DATA, &pack,
                           &mapping) == ESP_OK) {
        int rc = payment_open(pack, partition->size, feed);
        if (rc == TFIN_OK) {
            printf("pack: partition\n");
            return rc;
        }
        printf("pack in the partition: %s\n", tfin_error_name(rc));
        esp_partition_munmap(mapping);
    }
    printf("pack: image\n");
    return payment_open(tinyfin_pack, TINYFIN_PACK_BYTES, feed);
}

static esp_err_t open_storage(nvs_handle_t *nvs)
{
    esp_err_t error = nvs_flash_init();
    if (error == ESP_ERR_NVS_NO_FREE_PAGES || error == ESP_ERR_NVS_NEW_VERSION_FOUND) {
        error = nvs_flash_erase();
        error = error == ESP_OK ? nvs_flash_init() : error;
    }
    return error == ESP_OK ? nvs_open("tinyfin", NVS_READWRITE, nvs) : error;
}

/* What was saved before the restart. Nothing yet, or of another feature program: the engine stays
 * cold. */
static void restore(nvs_handle_t nvs)
{
    size_t size = sizeof image;
    int kept = nvs_get_blob(nvs, "state", image, &size) == ESP_OK &&
               nvs_get_u32(nvs, "seconds", &before_s) == ESP_OK &&
               tfin_import_state(payment_engine(), 0, image, (uint32_t)size) == TFIN_OK;
    printf("state: %s\n", kept ? "restored" : "cold");
}

static esp_err_t save(nvs_handle_t nvs)
{
    uint32_t size = tfin_state_size(payment_engine());
    if (size > sizeof image || tfin_export_state(payment_engine(), 0, image, size) != TFIN_OK) {
        return ESP_ERR_INVALID_SIZE;
    }
    esp_err_t error = nvs_set_u32(nvs, "seconds", now_s());
    error = error == ESP_OK ? nvs_set_blob(nvs, "state", image, size) : error;
    return error == ESP_OK ? nvs_commit(nvs) : error;
}

static int run(void)
{
    int rc = start();
    nvs_handle_t nvs;
    if (rc != TFIN_OK) {
        return rc;
    }
    if (open_storage(&nvs) != ESP_OK) {
        printf("nvs: cannot be opened\n");
        return rc;
    }
    restore(nvs);
    tfin_verdict verdict;
    rc = payment_check(now_s(), 1999, &verdict);
    if (rc == TFIN_OK) {
        printf("score %u action %u\n", (unsigned)verdict.score_q32, (unsigned)verdict.action);
        printf("saved: %s\n", save(nvs) == ESP_OK ? "yes" : "no");
    }
    nvs_close(nvs);
    return rc;
}

void app_main(void)
{
    (void)esp_task_wdt_add(NULL);
    int rc = run();
    if (rc != TFIN_OK) {
        printf("tinyfin: %s\n", tfin_error_name(rc));
    }
    (void)esp_task_wdt_delete(NULL);
}
