/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU's riscv32 "virt" machine: 16550 UART, the test device that ends or resets the machine, and
 * minstret as the counter: under -icount shift=0 one tick is one instruction. */
#include "port.h"

#define UART ((volatile uint8_t *)0x10000000u)
#define TEST_DEVICE (*(volatile uint32_t *)0x100000u)
#define LSR_DATA_READY 0x01u
#define LSR_TX_EMPTY 0x20u

const uint32_t tfin_port_abilities = TFIN_PORT_EXIT | TFIN_PORT_REBOOT | TFIN_PORT_STACK;
const uint32_t tfin_port_receive_bytes = 0;
const uint32_t tfin_port_tick_hz = 1000000000u;
const uint32_t tfin_port_tick_mask = 0xFFFFFFFFu;

void tfin_port_init(void)
{
    UART[1] = 0; /* no interrupts */
    UART[2] = 0xC1; /* FIFO; the trigger level says how many bytes QEMU may hand over at once */
    UART[3] = 3; /* 8N1 */
}

int tfin_port_read(void)
{
    return (UART[5] & LSR_DATA_READY) != 0 ? (int)UART[0] : -1;
}

uint32_t tfin_port_receive_overruns(void)
{
    return 0;
}

void tfin_port_write(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        while ((UART[5] & LSR_TX_EMPTY) == 0) {
        }
        UART[0] = data[i];
    }
}

uint32_t tfin_port_ticks(void)
{
    uint32_t count;
    __asm volatile("csrr %0, minstret" : "=r"(count));
    return count;
}

uint32_t tfin_port_noise(void)
{
    return 0;
}

void tfin_port_reset(void)
{
    TEST_DEVICE = 0x7777u;
    for (;;) {
    }
}

void tfin_port_exit(int code)
{
    TEST_DEVICE = code == 0 ? 0x5555u : ((uint32_t)code << 16) | 0x3333u;
    for (;;) {
    }
}
