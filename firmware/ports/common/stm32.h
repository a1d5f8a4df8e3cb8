/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the STM32 ports have in common: a USART with a receive interrupt, and the core's tick
 * counter. Part of one port.c, which defines USART_INTERRUPT and WAIT_TURNS (how often a wait
 * looks) before it includes this file, and USART_HAS_ISR where the family's USART is the younger
 * kind, with a status register of its own (all families but F1, F2, F4 and L1).
 *
 * The board file says in "defines" which USART leads to the host: TFIN_PORT_USART=1, 2 or 3, on
 * some families 6 too. Each has the same address on all families that are here, but for USART1 and
 * USART6, whose address the port.c gives as USART. A port.c whose chip gives a pin its function by
 * a number calls stm32_pins() with the address of GPIOA.
 */
#ifndef TFIN_STM32_H
#define TFIN_STM32_H

#include "port.h"

#include "cortex_m.h"
#include "divisor.h"
#include "ring.h"

#if TFIN_PORT_USART == 2
#define USART 0x40004400u
#elif TFIN_PORT_USART == 3
#define USART 0x40004800u
#endif

#ifdef USART_HAS_ISR
#define USART_CONTROL (USART + 0x00u)
#define USART_BAUD (USART + 0x0Cu)
#define USART_STATUS (USART + 0x1Cu)
#define USART_CLEAR (USART + 0x20u)
#define USART_READ (USART + 0x24u)
#define USART_WRITE (USART + 0x28u)
#define CONTROL_ENABLE (1u << 0)
#else
#define USART_STATUS (USART + 0x00u)
#define USART_READ (USART + 0x04u)
#define USART_WRITE (USART + 0x04u)
#define USART_BAUD (USART + 0x08u)
#define USART_CONTROL (USART + 0x0Cu)
#define CONTROL_ENABLE (1u << 13)
#endif
#define CONTROL_RECEIVE (1u << 2)
#define CONTROL_SEND (1u << 3)
#define CONTROL_INTERRUPT (1u << 5)
#define SR_ORE (1u << 3)
#define SR_RXNE (1u << 5)
#define SR_TC (1u << 6)
#define SR_TXE (1u << 7)

/* a chip has nowhere to exit to */
const uint32_t tfin_port_abilities = TFIN_PORT_REBOOT | TFIN_PORT_STACK | TFIN_PORT_SPEED;
const uint32_t tfin_port_receive_bytes = TFIN_PORT_RECEIVE_BYTES;
const uint32_t tfin_port_tick_mask = 0xFFFFFFu;
const uint32_t tfin_port_tick_hz = F_CPU;

static uint32_t usart_hz; /* clock of the USART */

static inline int wait_for(uint32_t reg, uint32_t mask, uint32_t value)
{
    for (uint32_t turns = 0; turns < WAIT_TURNS; turns++) {
        if ((TFIN_REG(reg) & mask) == value) {
            return 1;
        }
    }
    return 0;
}

#ifdef TFIN_PORT_TX
/* Pins as the data sheet names them: the port in the high digit, the number in the low one. */
#define PORT_PINS(port, at)                                                                \
    P##port##0 = 16 * (at), P##port##1, P##port##2, P##port##3, P##port##4, P##port##5,    \
    P##port##6, P##port##7, P##port##8, P##port##9, P##port##10, P##port##11, P##port##12, \
    P##port##13, P##port##14, P##port##15
enum {
    PORT_PINS(A, 0),
    PORT_PINS(B, 1),
    PORT_PINS(C, 2),
    PORT_PINS(D, 3),
    PORT_PINS(E, 4),
    PORT_PINS(F, 5),
    PORT_PINS(G, 6),
    PORT_PINS(H, 7)
};

/* Gives pins of one GPIO to a function: `first` and `second`, which may be the same; both
 * below 8 or both above. */
static inline void stm32_alternate(uint32_t gpio, uint32_t function, uint32_t first,
                                   uint32_t second)
{
    const uint32_t select = gpio + (first % 16u < 8u ? 0x20u : 0x24u);
    const uint32_t nibbles = 1u << 4u * (first % 8u) | 1u << 4u * (second % 8u);
    const uint32_t pairs = 1u << 2u * (first % 16u) | 1u << 2u * (second % 16u);
    TFIN_REG(select) = (TFIN_REG(select) & ~(0xFu * nibbles)) | function * nibbles;
    TFIN_REG(gpio + 0x0Cu) = (TFIN_REG(gpio + 0x0Cu) & ~(3u * pairs)) | pairs; /* pull up */
    /* alternate function */
    TFIN_REG(gpio) = (TFIN_REG(gpio) & ~(3u * pairs)) | 2u * pairs;
}

/* Gives two pins to a function, on the families whose GPIOs lie 0x400 apart from GPIOA on. */
static inline void stm32_pins(uint32_t gpio_a, uint32_t function, uint32_t tx, uint32_t rx)
{
    const uint32_t of_tx = gpio_a + 0x400u * (tx / 16u);
    if (tx / 8u == rx / 8u) {
        stm32_alternate(of_tx, function, tx, rx);
    } else {
        stm32_alternate(of_tx, function, tx, tx);
        stm32_alternate(gpio_a + 0x400u * (rx / 16u), function, rx, rx);
    }
}
#endif

/* 8N1 at TFIN_PORT_BAUD from a clock of `hz`; then bytes come in by interrupt. */
static void usart_start(uint32_t hz)
{
    usart_hz = hz;
    TFIN_REG(USART_BAUD) = (hz + TFIN_PORT_BAUD / 2u) / TFIN_PORT_BAUD;
    TFIN_REG(USART_CONTROL) = CONTROL_ENABLE | CONTROL_INTERRUPT | CONTROL_SEND | CONTROL_RECEIVE;
    tfin_cortex_m_enable(USART_INTERRUPT);
}

static void receive(void)
{
    uint32_t status = TFIN_REG(USART_STATUS);
    if ((status & SR_ORE) != 0) {
        tfin_ring_overrun(); /* without USART_CLEAR, the read of the data below clears it */
#ifdef USART_CLEAR
        TFIN_REG(USART_CLEAR) = SR_ORE;
#endif
    }
    if ((status & (SR_RXNE | SR_ORE)) != 0) {
        uint8_t byte = (uint8_t)TFIN_REG(USART_READ);
        if ((status & SR_RXNE) != 0) {
            tfin_ring_put(byte);
        }
    }
}

__attribute__((section(".vectors.interrupts"), used))
const tfin_vector tfin_interrupts[USART_INTERRUPT + 1] = {
    [USART_INTERRUPT] = receive,
};

int tfin_port_read(void)
{
    return tfin_ring_get();
}

uint32_t tfin_port_receive_overruns(void)
{
    return tfin_ring_overruns();
}

void tfin_port_write(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        for (uint32_t turns = 0; (TFIN_REG(USART_STATUS) & SR_TXE) == 0; turns++) {
            if (turns == TFIN_PORT_SEND_TURNS) {
                return;
            }
        }
        TFIN_REG(USART_WRITE) = data[i];
    }
}

int tfin_port_set_baud(uint32_t baud)
{
    uint32_t divisor = tfin_divisor(usart_hz, baud);
    if (divisor < 16u || divisor > 0xFFFFu) { /* it samples a bit 16 times */
        return 0;
    }
    for (uint32_t turns = 0; (TFIN_REG(USART_STATUS) & SR_TC) == 0; turns++) {
        if (turns == TFIN_PORT_SEND_TURNS) {
            return 0;
        }
    }
    TFIN_REG(USART_BAUD) = divisor;
    return 1;
}

uint32_t tfin_port_ticks(void)
{
    return tfin_cortex_m_systick();
}

#endif
