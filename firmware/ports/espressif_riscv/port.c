/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ESP32-C3, C6 and H2 without ESP-IDF: the ROM maps the flash and jumps into it ("direct boot"). On
 * a C3 UART0 interrupts; on C6 and H2, and over USB, it is polled. The core of a C3 runs from the
 * PLL that the ROM has started, or from the crystal; on C6 and H2 from the crystal.
 */
#include "espressif.h"

#if defined(TFIN_CHIP_ESP32C3) && !defined(TFIN_PORT_USB)
#define INTERRUPTS
#include "riscv.h"
#endif

#ifdef TFIN_CHIP_ESP32C3
#if F_CPU == 160000000
#define CPU_PERIOD 1u
#elif F_CPU == 80000000
#define CPU_PERIOD 0u
#elif F_CPU != 40000000
#error "build.f_cpu: an ESP32-C3 runs at 160000000L, 80000000L or, from its crystal, 40000000L"
#endif
#else
#if F_CPU != CRYSTAL_HZ
#error "build.f_cpu: an ESP32-C6 runs at 40000000L, an ESP32-H2 at 32000000L"
#endif
#endif

#define CPU_CLOCK 0x600C0008u
#define SYSTEM_CLOCK 0x600C0058u

#define UART_PENDING (UART + 0x08u)
#define UART_INTERRUPTS (UART + 0x0Cu)
#define UART_CONF1 (UART + 0x24u)
#define UART_MEMORY (UART + 0x60u)
#define UART_FULL (1u << 0)
#define UART_SILENCE (1u << 8)

#define MATRIX 0x600C2000u
#define MATRIX_UART0 (MATRIX + 0x54u)
#define LINES_ENABLED (MATRIX + 0x104u)
#define LINES_BY_EDGE (MATRIX + 0x108u)
#define LINE_PRIORITY(n) (MATRIX + 0x114u + 4u * (n))
#define LINE_THRESHOLD (MATRIX + 0x194u)
#define LINE 1u

void tfin_riscv_interrupt(void);

static void clock_init(void)
{
#ifdef CPU_PERIOD
    TFIN_REG(CPU_CLOCK) = (TFIN_REG(CPU_CLOCK) & ~7u) | 4u | CPU_PERIOD; /* of 480 MHz */
    TFIN_REG(SYSTEM_CLOCK) = (TFIN_REG(SYSTEM_CLOCK) & ~0xFFFu) | (1u << 10);
#elif defined(TFIN_CHIP_ESP32C3)
    TFIN_REG(SYSTEM_CLOCK) &= ~0xFFFu;
#endif
    /* the performance counter counts cycles */
    __asm volatile("csrw 0x7E0, %0\n csrw 0x7E1, %0" ::"r"(1));
}

uint32_t tfin_port_ticks(void)
{
    uint32_t count = 0;
    __asm volatile("csrr %0, 0x7E2" : "=r"(count));
    return count;
}

#ifdef INTERRUPTS

const uint32_t tfin_port_receive_bytes = TFIN_PORT_RECEIVE_BYTES;

void tfin_port_init(void)
{
    watchdogs_off();
    clock_init();
    (void)tfin_port_set_baud(TFIN_PORT_BAUD);
    /* an interrupt at half a FIFO, or after a byte's time of silence */
    TFIN_REG(UART_MEMORY) = (TFIN_REG(UART_MEMORY) & ~(0x3FFu << 16)) | (10u << 16);
    TFIN_REG(UART_CONF1) = (TFIN_REG(UART_CONF1) & ~0x1FFu) | (1u << 21) | (FIFO_BYTES / 2u);
    TFIN_REG(UART_CLEAR) = 0xFFFFFFFFu;
    TFIN_REG(UART_INTERRUPTS) = UART_FULL | UART_LOST | UART_SILENCE;
    TFIN_REG(MATRIX_UART0) = LINE;
    TFIN_REG(LINES_BY_EDGE) &= ~(1u << LINE);
    TFIN_REG(LINE_PRIORITY(LINE)) = 2;
    TFIN_REG(LINE_THRESHOLD) = 1;
    TFIN_REG(LINES_ENABLED) |= 1u << LINE;
    __asm volatile("csrs mstatus, %0" ::"r"(MSTATUS_INTERRUPTS) : "memory");
}

/* From start.S. */
void tfin_riscv_interrupt(void)
{
    uint32_t why = TFIN_REG(UART_PENDING);
    for (int byte; (byte = received()) >= 0;) {
        tfin_ring_put((uint8_t)byte);
    }
    if ((why & UART_LOST) != 0) {
        tfin_ring_overrun();
    }
    TFIN_REG(UART_CLEAR) = why;
}

uint32_t tfin_port_receive_overruns(void)
{
    return tfin_ring_overruns();
}

#else

#include "espressif_polled.h"

void tfin_port_init(void)
{
    watchdogs_off();
    clock_init();
    (void)tfin_port_set_baud(TFIN_PORT_BAUD);
}

/* start.S enters it for an interrupt; none is enabled */
void tfin_riscv_interrupt(void)
{
}

#endif
