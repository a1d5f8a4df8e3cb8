/* SPDX-License-Identifier: Apache-2.0 */
/* firmware/ports/port.h as a task under ESP-IDF: the complete terminal, which `tinyfin replay`
 * talks to over UART0. docs/ecosystems.md says how to build it. */
#include "port.h"

#include "driver/uart.h"
#include "esp_cpu.h"
#include "esp_random.h"
#include "esp_system.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "sdkconfig.h"

enum { IDLE_MS = 20, DRAIN_MS = 1000 };

static uint8_t in[128];
static int in_at, in_size;

const uint32_t tfin_port_abilities = TFIN_PORT_REBOOT;
const uint32_t tfin_port_receive_bytes = TFIN_PORT_RECEIVE_BYTES;
const uint32_t tfin_port_tick_hz = CONFIG_ESP_DEFAULT_CPU_FREQ_MHZ * 1000000u;
const uint32_t tfin_port_tick_mask = 0xFFFFFFFFu;

int main(void); /* of the terminal application; it does not return */

void tfin_port_init(void)
{
    const uart_config_t config = {.baud_rate = (int)TFIN_PORT_BAUD,
                                  .data_bits = UART_DATA_8_BITS,
                                  .parity = UART_PARITY_DISABLE,
                                  .stop_bits = UART_STOP_BITS_1,
                                  .flow_ctrl = UART_HW_FLOWCTRL_DISABLE,
                                  .source_clk = UART_SCLK_DEFAULT};
    /* no buffer for sending: a write returns when its last byte is in the UART */
    ESP_ERROR_CHECK(uart_driver_install(UART_NUM_0, TFIN_PORT_RECEIVE_BYTES, 0, 0, NULL, 0));
    ESP_ERROR_CHECK(uart_param_config(UART_NUM_0, &config));
}

static void receive(TickType_t wait)
{
    in_at = 0;
    in_size = uart_read_bytes(UART_NUM_0, in, 1, wait);
    if (in_size == 1) { /* and what came with it, without a wait */
        int more = uart_read_bytes(UART_NUM_0, in + 1, sizeof in - 1, 0);
        in_size += more > 0 ? more : 0;
    }
}

int tfin_port_read(void)
{
    if (in_at >= in_size) {
        receive(0);
    }
    return in_at < in_size ? in[in_at++] : -1;
}

void tfin_port_idle(void)
{
    receive(pdMS_TO_TICKS(IDLE_MS));
}

uint32_t tfin_port_receive_overruns(void)
{
    return 0;
}

void tfin_port_write(const uint8_t *data, size_t size)
{
    (void)uart_write_bytes(UART_NUM_0, data, size);
}

int tfin_port_set_baud(uint32_t baud)
{
    (void)baud;
    return 0; /* the line keeps the speed it has */
}

/* The counter is the core's own: the main task stays on core 0. */
uint32_t tfin_port_ticks(void)
{
    return (uint32_t)esp_cpu_get_cycle_count();
}

uint32_t tfin_port_noise(void)
{
    return esp_random();
}

uint32_t tfin_port_entropy(void)
{
    return esp_random();
}

void tfin_port_reset(void)
{
    (void)uart_wait_tx_done(UART_NUM_0, pdMS_TO_TICKS(DRAIN_MS));
    esp_restart();
}

void tfin_port_exit(int code)
{
    (void)code;
    for (;;) {
        vTaskDelay(portMAX_DELAY);
    }
}

void app_main(void)
{
    tfin_port_init();
    (void)main();
}
