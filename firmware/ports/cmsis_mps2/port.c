/* SPDX-License-Identifier: Apache-2.0 */
/* Arm MPS2 and MPS3 FPGA images: CMSDK UART. The board file gives TFIN_MPS2_UART (address of
 * UART0), TFIN_MPS2_UART_INTERRUPT (the first of its two: documents and QEMU do not agree which of
 * them is reception on the newer images, so both lead to the same place) and F_CPU (build.f_cpu:
 * clock of core, SysTick and UART). */
#include "port.h"

#include "cortex_m.h"
#include "divisor.h"
#include "ring.h"

#define UART_DATA (TFIN_MPS2_UART + 0x0u)
#define UART_STATE (TFIN_MPS2_UART + 0x4u)
#define UART_CTRL (TFIN_MPS2_UART + 0x8u)
#define UART_INTCLEAR (TFIN_MPS2_UART + 0xCu)
#define UART_BAUDDIV (TFIN_MPS2_UART + 0x10u)
#define CTRL_TX 1u
#define CTRL_RX 2u
#define CTRL_RX_INTERRUPT 8u
#define INTERRUPT_RX 2u
#define STATE_TX_FULL 1u
#define STATE_RX_FULL 2u
#define STATE_RX_OVERRUN 8u
#define BITS_PER_BYTE 10u
#define SMALLEST_DIVISOR 16u /* the UART's own limit */

const uint32_t tfin_port_abilities =
    TFIN_PORT_EXIT | TFIN_PORT_REBOOT | TFIN_PORT_STACK | TFIN_PORT_SPEED;
const uint32_t tfin_port_receive_bytes = TFIN_PORT_RECEIVE_BYTES;
const uint32_t tfin_port_tick_hz = F_CPU;
const uint32_t tfin_port_tick_mask = 0xFFFFFFu;

void tfin_port_init(void)
{
    TFIN_REG(UART_BAUDDIV) = F_CPU / TFIN_PORT_BAUD;
    TFIN_REG(UART_CTRL) = CTRL_TX | CTRL_RX | CTRL_RX_INTERRUPT;
    tfin_cortex_m_enable(TFIN_MPS2_UART_INTERRUPT);
    tfin_cortex_m_enable(TFIN_MPS2_UART_INTERRUPT + 1u);
    tfin_cortex_m_systick_start();
}

static void receive(void)
{
    uint32_t state;
    /* before the data: a byte that comes later asks again */
    TFIN_REG(UART_INTCLEAR) = INTERRUPT_RX;
    while (((state = TFIN_REG(UART_STATE)) & STATE_RX_FULL) != 0) {
        if ((state & STATE_RX_OVERRUN) != 0) {
            TFIN_REG(UART_STATE) = STATE_RX_OVERRUN;
            tfin_ring_overrun();
        }
        tfin_ring_put((uint8_t)TFIN_REG(UART_DATA));
    }
}

__attribute__((section(".vectors.interrupts"), used))
const tfin_vector tfin_interrupts[TFIN_MPS2_UART_INTERRUPT + 2u] = {
    [TFIN_MPS2_UART_INTERRUPT] = receive,
    [TFIN_MPS2_UART_INTERRUPT + 1u] = receive,
};

int tfin_port_read(void)
{
    return tfin_ring_get();
}

uint32_t tfin_port_receive_overruns(void)
{
    return tfin_ring_overruns();
}

static int has_space(void)
{
    for (uint32_t turns = 0; turns < TFIN_PORT_SEND_TURNS; turns++) {
        if ((TFIN_REG(UART_STATE) & STATE_TX_FULL) == 0) {
            return 1;
        }
    }
    return 0;
}

void tfin_port_write(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size && has_space(); i++) {
        TFIN_REG(UART_DATA) = data[i];
    }
}

int tfin_port_set_baud(uint32_t baud)
{
    uint32_t divisor = tfin_divisor(F_CPU, baud);
    if (divisor < SMALLEST_DIVISOR || !has_space()) {
        return 0;
    }
    /* the UART says when its buffer is empty, but not when the byte behind it has left */
    uint32_t byte_ticks = BITS_PER_BYTE * TFIN_REG(UART_BAUDDIV);
    uint32_t start = tfin_port_ticks();
    for (uint32_t turns = 0; turns < byte_ticks; turns++) {
        if (((tfin_port_ticks() - start) & tfin_port_tick_mask) >= byte_ticks) {
            break;
        }
    }
    TFIN_REG(UART_BAUDDIV) = divisor;
    return 1;
}

uint32_t tfin_port_ticks(void)
{
    return tfin_cortex_m_systick();
}

uint32_t tfin_port_noise(void)
{
    return 0;
}
