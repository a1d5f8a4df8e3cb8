/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nRF51. The board file says with F_CPU (build.f_cpu) how fast the core is, with TFIN_PORT_TX and
 * TFIN_PORT_RX which pins lead to the host (24 is P0.24), and, if the UART is to be timed by the
 * crystal instead of the RC oscillator, with TFIN_PORT_CRYSTAL_HZ what crystal there is. The tick
 * counter is the SysTick that QEMU gives this machine; the real nRF51 has none, there
 * tfin_port_ticks() stands still.
 */
#include "port.h"

#include "cortex_m.h"
#include "ring.h"

#if !defined(TFIN_PORT_TX) || !defined(TFIN_PORT_RX)
#error "the board file lacks the UART's pins: \"defines\": \
[\"TFIN_PORT_TX=24\", \"TFIN_PORT_RX=25\"]"
#endif
#if defined(TFIN_PORT_CRYSTAL_HZ) && TFIN_PORT_CRYSTAL_HZ != 16000000 && \
    TFIN_PORT_CRYSTAL_HZ != 32000000
#error "TFIN_PORT_CRYSTAL_HZ: an nRF51 has a crystal of 16000000 or 32000000 Hz"
#endif

#define HFCLKSTART 0x40000000u
#define HFCLKSTARTED 0x40000100u
#define XTALFREQ 0x40000550u
#define CRYSTAL_TURNS 100000u /* far longer than a crystal takes to start */

#define UART_HZ 16000000u /* what the UART divides, whatever drives it */
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

const uint32_t tfin_port_abilities = TFIN_PORT_EXIT | TFIN_PORT_REBOOT | TFIN_PORT_STACK;
const uint32_t tfin_port_receive_bytes = TFIN_PORT_RECEIVE_BYTES;
const uint32_t tfin_port_tick_hz = F_CPU;
const uint32_t tfin_port_tick_mask = 0xFFFFFFu;

static void crystal_start(void)
{
#ifdef TFIN_PORT_CRYSTAL_HZ
    TFIN_REG(XTALFREQ) = TFIN_PORT_CRYSTAL_HZ == 32000000 ? 0x00u : 0xFFu;
    TFIN_REG(HFCLKSTART) = 1;
    for (uint32_t turns = 0; turns < CRYSTAL_TURNS && TFIN_REG(HFCLKSTARTED) == 0; turns++) {
    }
#endif
}

void tfin_port_init(void)
{
    crystal_start();
    TFIN_REG(PSELTXD) = TFIN_PORT_TX;
    TFIN_REG(PSELRXD) = TFIN_PORT_RX;
    /* baud * 2^32 / 16 MHz, to the 4 bits that the chip keeps clear */
    TFIN_REG(BAUDRATE) =
        (uint32_t)((((uint64_t)TFIN_PORT_BAUD << 32) / UART_HZ + 0x800u) & 0xFFFFF000u);
    TFIN_REG(ENABLE) = 4;
    TFIN_REG(INTENSET) = RXDRDY_INTERRUPT;
    tfin_cortex_m_enable(UART_INTERRUPT);
    TFIN_REG(STARTRX) = 1;
    TFIN_REG(STARTTX) = 1;
    tfin_cortex_m_systick_start();
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

uint32_t tfin_port_ticks(void)
{
    return tfin_cortex_m_systick();
}

uint32_t tfin_port_noise(void)
{
    return TFIN_REG(0x10000060u); /* FICR DEVICEID[0] */
}
