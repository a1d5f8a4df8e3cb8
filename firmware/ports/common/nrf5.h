/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the nRF51 and nRF52 ports have in common: the UART with single bytes, which both have at the
 * same place, its pins and the crystal. Part of one port.c, which includes this file after it has
 * checked what the board file says in "defines": TFIN_PORT_TX and TFIN_PORT_RX, the pins that lead
 * to the host (24 is P0.24, 32 is P1.00).
 */
#ifndef TFIN_NRF5_H
#define TFIN_NRF5_H

#include "port.h"

#include "cortex_m.h"
#include "ring.h"

#if !defined(TFIN_PORT_TX) || !defined(TFIN_PORT_RX)
#error "the board file lacks the UART's pins: \"defines\": \
[\"TFIN_PORT_TX=24\", \"TFIN_PORT_RX=25\"]"
#endif

#define HFCLKSTART 0x40000000u
#define HFCLKSTARTED 0x40000100u
#define CRYSTAL_TURNS 100000u /* far longer than a crystal takes to start */
#define DEVICE_ID 0x10000060u
#define GPIO(pin) (0x50000000u + 0x300u * ((pin) / 32u))
#define OUTSET(pin) (GPIO(pin) + 0x508u)
#define PIN_CNF(pin) (GPIO(pin) + 0x700u + 4u * ((pin) % 32u))
#define PIN_OUTPUT 3u      /* the input buffer is off */
#define PIN_PULLED_UP 0xCu /* an input */

#define UART_HZ 16000000u /* what the UART divides, whatever drives it */
#define FASTEST_BAUD 1000000u
#define SLOWEST_BAUD 1200u
#define UART 0x40002000u
#define STARTRX (UART + 0x000u)
#define STARTTX (UART + 0x008u)
#define RXDRDY (UART + 0x108u)
#define TXDRDY (UART + 0x11Cu)
#define ERROR (UART + 0x124u)
#define INTENSET (UART + 0x304u)
#define INTENCLR (UART + 0x308u)
#define ERRORSRC (UART + 0x480u)
#define ENABLE (UART + 0x500u)
#define PSELTXD (UART + 0x50Cu)
#define PSELRXD (UART + 0x514u)
#define RXD (UART + 0x518u)
#define TXD (UART + 0x51Cu)
#define BAUDRATE (UART + 0x524u)
#define RXDRDY_INTERRUPT (1u << 2)
#define ERRORSRC_OVERRUN 1u
#define UART_INTERRUPT 2u

const uint32_t tfin_port_receive_bytes = TFIN_PORT_RECEIVE_BYTES;

static inline void crystal_start(void)
{
    TFIN_REG(HFCLKSTART) = 1;
    for (uint32_t turns = 0; turns < CRYSTAL_TURNS && TFIN_REG(HFCLKSTARTED) == 0; turns++) {
    }
}

/* baud * 2^32 / 16 MHz, to the 4 bits that the chip keeps clear */
static uint32_t rate(uint32_t baud)
{
    return (uint32_t)((((uint64_t)baud << 32) / UART_HZ + 0x800u) & 0xFFFFF000u);
}

static void uart_start(void)
{
    const uint32_t tx = TFIN_PORT_TX, rx = TFIN_PORT_RX;
    /* an idle line is high, before the UART has it */
    TFIN_REG(OUTSET(tx)) = 1u << tx % 32u;
    TFIN_REG(PIN_CNF(tx)) = PIN_OUTPUT;
    TFIN_REG(PIN_CNF(rx)) = PIN_PULLED_UP;
    TFIN_REG(PSELTXD) = tx;
    TFIN_REG(PSELRXD) = rx;
    TFIN_REG(BAUDRATE) = rate(TFIN_PORT_BAUD);
    TFIN_REG(ENABLE) = 4;
    TFIN_REG(INTENSET) = RXDRDY_INTERRUPT;
    tfin_cortex_m_enable(UART_INTERRUPT);
    TFIN_REG(STARTRX) = 1;
    TFIN_REG(STARTTX) = 1;
}

/* A full ring leaves bytes in the UART's own six places, and QEMU then waits with the next ones. */
static void receive(void)
{
    while (TFIN_REG(RXDRDY) != 0 && !tfin_ring_full()) {
        TFIN_REG(RXDRDY) = 0;
        tfin_ring_put((uint8_t)TFIN_REG(RXD));
    }
    if (tfin_ring_full()) {
        TFIN_REG(INTENCLR) = RXDRDY_INTERRUPT;
    }
    if (TFIN_REG(ERROR) != 0) {
        TFIN_REG(ERROR) = 0;
        if ((TFIN_REG(ERRORSRC) & ERRORSRC_OVERRUN) != 0) {
            TFIN_REG(ERRORSRC) = ERRORSRC_OVERRUN; /* written back, it is cleared */
            tfin_ring_overrun();
        }
    }
}

__attribute__((section(".vectors.interrupts"), used))
const tfin_vector tfin_interrupts[UART_INTERRUPT + 1] = {
    [UART_INTERRUPT] = receive,
};

int tfin_port_read(void)
{
    int byte = tfin_ring_get();
    TFIN_REG(INTENSET) = RXDRDY_INTERRUPT;
    return byte;
}

uint32_t tfin_port_receive_overruns(void)
{
    return tfin_ring_overruns();
}

void tfin_port_write(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        TFIN_REG(TXDRDY) = 0;
        TFIN_REG(TXD) = data[i];
        for (uint32_t turns = 0; TFIN_REG(TXDRDY) == 0; turns++) {
            if (turns == TFIN_PORT_SEND_TURNS) {
                return;
            }
        }
    }
}

/* tfin_port_write returns when a byte has left. */
int tfin_port_set_baud(uint32_t baud)
{
    if (baud < SLOWEST_BAUD || baud > FASTEST_BAUD) {
        return 0;
    }
    TFIN_REG(BAUDRATE) = rate(baud);
    return 1;
}

#endif
