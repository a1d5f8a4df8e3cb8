/* SPDX-License-Identifier: Apache-2.0 */
/* nRF51 (micro:bit). The tick counter is the SysTick that QEMU gives this machine; the real nRF51
 * has none, there tfin_port_ticks() stands still. */
#include "port.h"

#include "cortex_m.h"

#define UART 0x40002000u
#define STARTRX (UART + 0x000u)
#define STARTTX (UART + 0x008u)
#define RXDRDY (UART + 0x108u)
#define TXDRDY (UART + 0x11Cu)
#define ENABLE (UART + 0x500u)
#define PSELTXD (UART + 0x50Cu)
#define PSELRXD (UART + 0x514u)
#define RXD (UART + 0x518u)
#define TXD (UART + 0x51Cu)
#define BAUDRATE (UART + 0x524u)

const uint32_t tfin_port_abilities = TFIN_PORT_EXIT | TFIN_PORT_REBOOT | TFIN_PORT_STACK;
const uint32_t tfin_port_receive_bytes = 0;
const uint32_t tfin_port_tick_hz = 16000000u;
const uint32_t tfin_port_tick_mask = 0xFFFFFFu;

void tfin_port_init(void)
{
    TFIN_REG(PSELTXD) = 24; /* to the interface chip */
    TFIN_REG(PSELRXD) = 25;
    /* baud * 2^32 / 16 MHz, to the 4 bits that the chip keeps clear */
    TFIN_REG(BAUDRATE) = (uint32_t)((((uint64_t)TFIN_PORT_BAUD << 32) / 16000000u + 0x800u) & 0xFFFFF000u);
    TFIN_REG(ENABLE) = 4;
    TFIN_REG(STARTRX) = 1;
    TFIN_REG(STARTTX) = 1;
    tfin_cortex_m_systick_start();
}

int tfin_port_read(void)
{
    if (TFIN_REG(RXDRDY) == 0) {
        return -1;
    }
    TFIN_REG(RXDRDY) = 0;
    return (int)(TFIN_REG(RXD) & 0xFFu);
}

uint32_t tfin_port_receive_overruns(void)
{
    return 0;
}

void tfin_port_write(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        TFIN_REG(TXDRDY) = 0;
        TFIN_REG(TXD) = data[i];
        while (TFIN_REG(TXDRDY) == 0) {
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
