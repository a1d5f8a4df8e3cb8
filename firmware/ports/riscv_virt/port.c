/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU's riscv32 "virt" machine: 16550 UART behind the PLIC, the test device that ends or resets
 * the machine, and minstret as the counter: under -icount shift=0 one tick is one instruction. */
#include "port.h"

#include "divisor.h"
#include "registers.h"
#include "riscv.h"

#define UART 0x10000000u
#define TEST_DEVICE TFIN_REG(0x100000u)
#define LSR_DATA_READY 0x01u
#define LSR_OVERRUN 0x02u
#define LSR_TX_EMPTY 0x20u
#define LSR_LINE_IDLE 0x40u
#define LCR_8N1 0x03u
#define LCR_DIVISOR 0x80u
#define UART_BIT_HZ (3686400u / 16u) /* the fastest bit of this machine's UART */

#define UART_INTERRUPT 10u
#define PLIC 0x0C000000u
#define PLIC_PRIORITY TFIN_REG(PLIC + 4u * UART_INTERRUPT)
#define PLIC_ENABLE TFIN_REG(PLIC + 0x2000u)
#define PLIC_THRESHOLD TFIN_REG(PLIC + 0x200000u)
#define PLIC_CLAIM TFIN_REG(PLIC + 0x200004u)
#define MIE_EXTERNAL 0x800u

void tfin_riscv_interrupt(void);

static uint32_t overruns_sending; /* seen while sending; the interrupt counts its own in the ring */

const uint32_t tfin_port_abilities =
    TFIN_PORT_EXIT | TFIN_PORT_REBOOT | TFIN_PORT_STACK | TFIN_PORT_SPEED;
const uint32_t tfin_port_receive_bytes = TFIN_PORT_RECEIVE_BYTES;
const uint32_t tfin_port_tick_hz = F_CPU;
const uint32_t tfin_port_tick_mask = 0xFFFFFFFFu;

void tfin_port_init(void)
{
    /* FIFO; the trigger level says how many bytes QEMU may deliver at once; fewer
     * come after a short time */
    TFIN_REG8(UART + 2u) = 0xC1;
    TFIN_REG8(UART + 3u) = LCR_8N1;
    TFIN_REG8(UART + 1u) = 1; /* an interrupt when there is data */
    PLIC_PRIORITY = 1;
    PLIC_ENABLE = 1u << UART_INTERRUPT;
    PLIC_THRESHOLD = 0;
    __asm volatile("csrs mie, %0\n csrs mstatus, %1" ::"r"(MIE_EXTERNAL), "r"(MSTATUS_INTERRUPTS)
                   : "memory");
}

/* From start.S, for every external interrupt. */
void tfin_riscv_interrupt(void)
{
    uint32_t source = PLIC_CLAIM;
    uint32_t status;
    while (((status = TFIN_REG8(UART + 5u)) & LSR_DATA_READY) != 0) {
        if ((status & LSR_OVERRUN) != 0) {
            tfin_ring_overrun();
        }
        tfin_ring_put(TFIN_REG8(UART + 0u));
    }
    if (source != 0) {
        PLIC_CLAIM = source;
    }
}

uint32_t tfin_port_receive_overruns(void)
{
    return tfin_ring_overruns() + overruns_sending;
}

/* Outside of the interrupt. Reading the status clears the mark of a lost byte, which the
 * interrupt then does not see. */
static uint32_t line_status(void)
{
    uint32_t status = TFIN_REG8(UART + 5u);
    overruns_sending += (status & LSR_OVERRUN) != 0;
    return status;
}

static int wait_for(uint32_t bit)
{
    for (uint32_t turns = 0; turns < TFIN_PORT_SEND_TURNS; turns++) {
        if ((line_status() & bit) != 0) {
            return 1;
        }
    }
    return 0;
}

void tfin_port_write(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size && wait_for(LSR_TX_EMPTY); i++) {
        TFIN_REG8(UART + 0u) = data[i];
    }
}

int tfin_port_set_baud(uint32_t baud)
{
    uint32_t divisor = tfin_divisor(UART_BIT_HZ, baud);
    if (divisor == 0 || divisor > 0xFFFFu || !wait_for(LSR_LINE_IDLE)) {
        return 0;
    }
    /* an interrupt would read the divisor in place of a byte */
    __asm volatile("csrc mstatus, %0" ::"r"(MSTATUS_INTERRUPTS) : "memory");
    TFIN_REG8(UART + 3u) = LCR_DIVISOR | LCR_8N1;
    TFIN_REG8(UART + 0u) = (uint8_t)divisor;
    TFIN_REG8(UART + 1u) = (uint8_t)(divisor >> 8);
    TFIN_REG8(UART + 3u) = LCR_8N1;
    __asm volatile("csrs mstatus, %0" ::"r"(MSTATUS_INTERRUPTS) : "memory");
    return 1;
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
