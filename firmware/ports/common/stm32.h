/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the STM32 ports have in common: a USART with a receive interrupt, and the core's tick
 * counter. Part of one port.c, which defines USART_INTERRUPT and WAIT_TURNS (how often a wait
 * looks) before it includes this file.
 *
 * The board file says in "defines" which USART leads to the host: TFIN_PORT_USART=1, 2 or 3, on an
 * STM32F4 6 too. Each has the same address on all families that are here, but for USART1 and
 * USART6, whose address the port.c gives as USART.
 */
#ifndef TFIN_STM32_H
#define TFIN_STM32_H

#include "port.h"

#include "cortex_m.h"
#include "ring.h"

#if TFIN_PORT_USART == 2
#define USART 0x40004400u
#elif TFIN_PORT_USART == 3
#define USART 0x40004800u
#endif

#define SR_ORE (1u << 3)
#define SR_RXNE (1u << 5)
#define SR_TXE (1u << 7)

/* a chip has nowhere to exit to */
const uint32_t tfin_port_abilities = TFIN_PORT_REBOOT | TFIN_PORT_STACK;
const uint32_t tfin_port_receive_bytes = TFIN_PORT_RECEIVE_BYTES;
const uint32_t tfin_port_tick_mask = 0xFFFFFFu;
const uint32_t tfin_port_tick_hz = F_CPU;

static int wait_for(uint32_t reg, uint32_t mask, uint32_t value)
{
    for (uint32_t turns = 0; turns < WAIT_TURNS; turns++) {
        if ((TFIN_REG(reg) & mask) == value) {
            return 1;
        }
    }
    return 0;
}

/* 8N1 at TFIN_PORT_BAUD from a clock of `hz`; then bytes come in by interrupt. */
static void usart_start(uint32_t hz)
{
    TFIN_REG(USART + 0x08u) = (hz + TFIN_PORT_BAUD / 2u) / TFIN_PORT_BAUD;
    /* UE, RXNEIE, TE, RE */
    TFIN_REG(USART + 0x0Cu) = (1u << 13) | (1u << 5) | (1u << 3) | (1u << 2);
    tfin_cortex_m_enable(USART_INTERRUPT);
}

static void receive(void)
{
    uint32_t status = TFIN_REG(USART);
    if ((status & SR_ORE) != 0) {
        tfin_ring_overrun(); /* the read of the data below clears it */
    }
    if ((status & (SR_RXNE | SR_ORE)) != 0) {
        uint8_t byte = (uint8_t)TFIN_REG(USART + 0x04u);
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
        for (uint32_t turns = 0; (TFIN_REG(USART) & SR_TXE) == 0; turns++) {
            if (turns == TFIN_PORT_SEND_TURNS) {
                return;
            }
        }
        TFIN_REG(USART + 0x04u) = data[i];
    }
}

uint32_t tfin_port_ticks(void)
{
    return tfin_cortex_m_systick();
}

#endif
