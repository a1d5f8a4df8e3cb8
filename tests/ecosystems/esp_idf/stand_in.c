/* SPDX-License-Identifier: Apache-2.0 */
/* ESP-IDF on this machine, for the examples: UART0 is standard input and output; a partition of
 * 64 kB that a file fills, and storage in a file, if the arguments name them (the second need not
 * be there yet). */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "driver/uart.h"
#include "esp_cpu.h"
#include "esp_partition.h"
#include "esp_random.h"
#include "esp_system.h"
#include "esp_task_wdt.h"
#include "esp_timer.h"
#include "nvs.h"
#include "nvs_flash.h"

static uint8_t flash[64 * 1024] __attribute__((aligned(4096)));
static esp_partition_t partition = {.type = ESP_PARTITION_TYPE_DATA, .size = sizeof flash};
static const char *storage;
static struct {
    uint32_t seconds, length;
    uint8_t blob[16 * 1024];
} kept, fresh;
static int opened, watched;
static char **arguments;

void app_main(void);

const esp_partition_t *esp_partition_find_first(esp_partition_type_t type,
                                                esp_partition_subtype_t subtype, const char *label)
{
    int is = type == ESP_PARTITION_TYPE_DATA && (int)subtype == 0x40 && !strcmp(label, "tfpack");
    return is ? &partition : NULL;
}

esp_err_t esp_partition_mmap(const esp_partition_t *of, size_t offset, size_t size,
                             esp_partition_mmap_memory_t memory, const void **out_ptr,
                             esp_partition_mmap_handle_t *out_handle)
{
    (void)of, (void)size, (void)memory;
    *out_ptr = flash + offset;
    *out_handle = 1;
    return ESP_OK;
}

void esp_partition_munmap(esp_partition_mmap_handle_t handle)
{
    (void)handle;
    memset(flash, 0, sizeof flash); /* no one may read it any more */
}

esp_err_t esp_task_wdt_add(TaskHandle_t task)
{
    (void)task;
    watched = 1;
    return ESP_OK;
}

esp_err_t esp_task_wdt_reset(void)
{
    return watched ? ESP_OK : ESP_FAIL;
}

esp_err_t esp_task_wdt_delete(TaskHandle_t task)
{
    (void)task;
    watched = 0;
    return ESP_OK;
}

int64_t esp_timer_get_time(void)
{
    return 5 * 1000000;
}

esp_err_t nvs_flash_init(void)
{
    FILE *file = fopen(storage, "rb");
    if (file != NULL) {
        size_t got = fread(&kept, sizeof kept, 1, file);
        fclose(file);
        if (got != 1) {
            return ESP_ERR_NVS_NEW_VERSION_FOUND;
        }
    }
    fresh = kept;
    return ESP_OK;
}

esp_err_t nvs_flash_erase(void)
{
    return remove(storage) == 0 ? ESP_OK : ESP_FAIL;
}

esp_err_t nvs_open(const char *name, nvs_open_mode_t mode, nvs_handle_t *out)
{
    opened = !strcmp(name, "tinyfin") && mode == NVS_READWRITE;
    *out = 7;
    return opened ? ESP_OK : ESP_FAIL;
}

esp_err_t nvs_get_u32(nvs_handle_t handle, const char *key, uint32_t *out)
{
    if (handle != 7 || strcmp(key, "seconds") || kept.length == 0) {
        return ESP_ERR_NVS_NOT_FOUND;
    }
    *out = kept.seconds;
    return ESP_OK;
}

esp_err_t nvs_set_u32(nvs_handle_t handle, const char *key, uint32_t value)
{
    fresh.seconds = value;
    return handle == 7 && !strcmp(key, "seconds") ? ESP_OK : ESP_FAIL;
}

esp_err_t nvs_get_blob(nvs_handle_t handle, const char *key, void *out, size_t *length)
{
    if (handle != 7 || strcmp(key, "state") || kept.length == 0) {
        return ESP_ERR_NVS_NOT_FOUND;
    }
    if (*length < kept.length) {
        return ESP_ERR_NVS_INVALID_LENGTH;
    }
    *length = kept.length;
    memcpy(out, kept.blob, kept.length);
    return ESP_OK;
}

esp_err_t nvs_set_blob(nvs_handle_t handle, const char *key, const void *value, size_t length)
{
    if (handle != 7 || strcmp(key, "state") || length > sizeof fresh.blob) {
        return ESP_FAIL;
    }
    memcpy(fresh.blob, value, length);
    fresh.length = (uint32_t)length;
    return ESP_OK;
}

esp_err_t nvs_commit(nvs_handle_t handle)
{
    FILE *file = handle == 7 ? fopen(storage, "wb") : NULL;
    if (file == NULL) {
        return ESP_FAIL;
    }
    size_t put = fwrite(&fresh, sizeof fresh, 1, file);
    return fclose(file) == 0 && put == 1 ? ESP_OK : ESP_FAIL;
}

void nvs_close(nvs_handle_t handle)
{
    (void)handle;
    opened = 0;
}

esp_err_t uart_driver_install(uart_port_t port, int rx, int tx, int queue_size,
                              QueueHandle_t *queue, int flags)
{
    (void)queue, (void)flags;
    return port == UART_NUM_0 && rx > 128 && tx == 0 && queue_size == 0 ? ESP_OK : ESP_FAIL;
}

esp_err_t uart_param_config(uart_port_t port, const uart_config_t *config)
{
    return port == UART_NUM_0 && config->baud_rate == 115200 ? ESP_OK : ESP_FAIL;
}

/* Waits for all of the bytes, or as long as it may. */
int uart_read_bytes(uart_port_t port, void *buf, uint32_t length, TickType_t wait)
{
    uint32_t got = 0;
    struct pollfd line = {STDIN_FILENO, POLLIN, 0};
    while (port == UART_NUM_0 && got < length && poll(&line, 1, (int)wait) == 1) {
        ssize_t n = read(STDIN_FILENO, (uint8_t *)buf + got, length - got);
        if (n <= 0) {
            _exit(0); /* the host has gone */
        }
        got += (uint32_t)n;
    }
    return (int)got;
}

int uart_write_bytes(uart_port_t port, const void *src, size_t size)
{
    size_t put = 0;
    while (port == UART_NUM_0 && put < size) {
        ssize_t n = write(STDOUT_FILENO, (const uint8_t *)src + put, size - put);
        if (n < 0) {
            _exit(0);
        }
        put += (size_t)n;
    }
    return (int)put;
}

esp_err_t uart_wait_tx_done(uart_port_t port, TickType_t wait)
{
    (void)port, (void)wait;
    return ESP_OK;
}

esp_cpu_cycle_count_t esp_cpu_get_cycle_count(void)
{
    static uint32_t cycles;
    return cycles += 1000;
}

uint32_t esp_random(void)
{
    uint32_t noise;
    return getrandom(&noise, sizeof noise, 0) == sizeof noise ? noise : 0;
}

void vTaskDelay(TickType_t ticks)
{
    (void)ticks;
}

void esp_restart(void)
{
    execv("/proc/self/exe", arguments);
    _exit(125);
}

void esp_error_check_failed(esp_err_t error)
{
    fprintf(stderr, "error %d\n", error);
    _exit(3);
}

/* The terminal application has a main of its own, which only app_main calls. */
__attribute__((weak)) int main(void)
{
    return 0;
}

__attribute__((constructor)) static void boot(int count, char **words)
{
    arguments = words;
    memset(flash, 0xFF, sizeof flash);
    FILE *file = count == 3 ? fopen(words[1], "rb") : NULL;
    if (file != NULL) {
        (void)!fread(flash, 1, sizeof flash, file);
        fclose(file);
        storage = words[2];
    }
    app_main();
    fflush(stdout);
    _exit(opened || watched);
}
