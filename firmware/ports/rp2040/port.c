/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RP2040 with a crystal of 12 MHz, as on the Pico. The board file says in build.f_cpu how fast the
 * core runs (whole MHz, 63 to 133), and in "defines" which UART leads to the host
 * (TFIN_PORT_UART=0 or 1) and over which pins: TFIN_PORT_TX=0 is GPIO0. boot2.S is the second stage
 * of the chip's boot. Registers: RP2040 Datasheet.
 */
#include "port.h"

#include "cortex_m.h"
#include "divisor.h"
#include "ring.h"

#if TFIN_PORT_UART == 0
#define UART 0x40034000u
#define UART_INTERRUPT 20u
#elif TFIN_PORT_UART == 1
#define UART 0x40038000u
#define UART_INTERRUPT 21u
#endif
#if !defined(TFIN_PORT_UART) || !defined(UART) || !defined(TFIN_PORT_TX) || !defined(TFIN_PORT_RX)
#error "the board file lacks the UART or its pins: \"defines\": \
[\"TFIN_PORT_UART=0\", \"TFIN_PORT_TX=0\", \"TFIN_PORT_RX=1\"]"
#endif
#if F_CPU < 63000000 || F_CPU > 133000000 || F_CPU % 1000000 != 0
#error "build.f_cpu: an RP2040 runs at whole MHz, from 63000000L to 133000000L"
#endif

/* a second address of each register sets bits of it, a third clears them */
#define SET 0x2000u
#define CLEAR 0x3000u

#define CLOCKS 0x40008000u
#define CLK_REF_CTRL (CLOCKS + 0x30u)
#define CLK_REF_SELECTED (CLOCKS + 0x38u)
#define CLK_SYS_CTRL (CLOCKS + 0x3Cu)
#define CLK_SYS_SELECTED (CLOCKS + 0x44u)
#define CLK_PERI_CTRL (CLOCKS + 0x48u)
#define RESETS 0x4000C000u
#define RESETS_DONE (RESETS + 0x08u)
#define PSM_WDSEL 0x40010008u
#define IO_CTRL(pin) (0x40014004u + 8u * (pin))
#define PAD(pin) (0x4001C004u + 4u * (pin))
#define XOSC_CTRL 0x40024000u
#define XOSC_STATUS 0x40024004u
#define XOSC_STARTUP 0x4002400Cu
#define PLL_CS 0x40028000u
#define PLL_PWR 0x40028004u
#define PLL_FBDIV 0x40028008u
#define PLL_PRIM 0x4002800Cu
#define WATCHDOG_CTRL 0x40058000u
#define WATCHDOG_SCRATCH4 0x4005801Cu
#define ROSC_RANDOMBIT 0x4006001Cu

#define RESET_IO (1u << 5)
#define RESET_PADS (1u << 8)
#define RESET_PLL (1u << 12)
#define RESET_UART (1u << (22u + TFIN_PORT_UART))
#define XOSC_STABLE (1u << 31)
#define PLL_LOCK (1u << 31)
#define CRYSTAL_HZ 12000000u
#define ROSC_HZ 6500000u /* about: what the core runs on after reset */
#define WAIT_TURNS 100000u

#define UART_DATA (UART + 0x00u)
#define UART_FLAGS (UART + 0x18u)
#define UART_IBRD (UART + 0x24u)
#define UART_FBRD (UART + 0x28u)
#define UART_LINE (UART + 0x2Cu)
#define UART_CONTROL (UART + 0x30u)
#define UART_MASK (UART + 0x38u)
#define FLAG_BUSY (1u << 3)
#define FLAG_EMPTY (1u << 4)
#define FLAG_FULL (1u << 5)
#define DATA_OVERRUN (1u << 11)

const uint32_t tfin_port_abilities = TFIN_PORT_REBOOT | TFIN_PORT_STACK | TFIN_PORT_SPEED;
const uint32_t tfin_port_receive_bytes = TFIN_PORT_RECEIVE_BYTES;
const uint32_t tfin_port_tick_hz = F_CPU;
const uint32_t tfin_port_tick_mask = 0xFFFFFFu;

static uint32_t uart_hz; /* clock of the UART */

static int wait_for(uint32_t reg, uint32_t bits)
{
    for (uint32_t turns = 0; turns < WAIT_TURNS; turns++) {
        if ((TFIN_REG(reg) & bits) == bits) {
            return 1;
        }
    }
    return 0;
}

static void out_of_reset(uint32_t blocks)
{
    TFIN_REG(RESETS + CLEAR) = blocks;
    (void)wait_for(RESETS_DONE, blocks);
}

/* Returns the clock of core and UART, in Hz. */
static uint32_t clock_init(void)
{
    TFIN_REG(XOSC_CTRL) = 0xAA0u;                                /* a crystal of 1 to 15 MHz */
    TFIN_REG(XOSC_STARTUP) = (CRYSTAL_HZ / 1000u + 128u) / 256u; /* 1 ms */
    TFIN_REG(XOSC_CTRL + SET) = 0xFABu << 12;
    if (!wait_for(XOSC_STATUS, XOSC_STABLE)) {
        return ROSC_HZ;
    }
    TFIN_REG(CLK_REF_CTRL) = 2u;
    (void)wait_for(CLK_REF_SELECTED, 1u << 2);
    /* after a reset that left it on, the core must not run from the PLL that is set up now */
    TFIN_REG(CLK_SYS_CTRL + CLEAR) = 1u;
    (void)wait_for(CLK_SYS_SELECTED, 1u << 0);
    TFIN_REG(RESETS + SET) = RESET_PLL;
    out_of_reset(RESET_PLL);
    /* 12 MHz * (F_CPU in MHz), divided by 6 and 2 */
    TFIN_REG(PLL_CS) = 1u;
    TFIN_REG(PLL_FBDIV) = (uint32_t)F_CPU / 1000000u;
    TFIN_REG(PLL_PWR + CLEAR) = 1u << 5 | 1u << 0; /* oscillator and PLL on */
    if (!wait_for(PLL_CS, PLL_LOCK)) {
        return CRYSTAL_HZ;
    }
    TFIN_REG(PLL_PRIM) = 6u << 16 | 2u << 12;
    TFIN_REG(PLL_PWR + CLEAR) = 1u << 3; /* dividers on */
    TFIN_REG(CLK_SYS_CTRL) = 0;          /* its other source is the PLL */
    TFIN_REG(CLK_SYS_CTRL + SET) = 1u;
    return wait_for(CLK_SYS_SELECTED, 1u << 1) ? (uint32_t)F_CPU : CRYSTAL_HZ;
}

/* In 64ths; a bit is 16 clocks times this. */
static void set_divisor(uint32_t divisor)
{
    TFIN_REG(UART_IBRD) = divisor >> 6;
    TFIN_REG(UART_FBRD) = divisor & 63u;
    TFIN_REG(UART_LINE) = 3u << 5 | 1u << 4; /* 8 bits, FIFOs on; takes the divisor, too */
}

void tfin_port_init(void)
{
    const uint32_t tx = TFIN_PORT_TX, rx = TFIN_PORT_RX;
    uart_hz = clock_init();
    TFIN_REG(CLK_PERI_CTRL) = 1u << 11; /* on, from the core's clock */
    out_of_reset(RESET_IO | RESET_PADS | RESET_UART);
    set_divisor((uart_hz * 4u + TFIN_PORT_BAUD / 2u) / TFIN_PORT_BAUD);
    TFIN_REG(UART_MASK) = 1u << 6 | 1u << 4; /* bytes that wait, half a FIFO of them */
    TFIN_REG(UART_CONTROL) = 1u << 9 | 1u << 8 | 1u << 0;
    TFIN_REG(PAD(rx)) = 0x5Au; /* input, pulled up */
    TFIN_REG(IO_CTRL(tx)) = 2u;
    TFIN_REG(IO_CTRL(rx)) = 2u;
    tfin_cortex_m_enable(UART_INTERRUPT);
    tfin_cortex_m_systick_start();
}

static void receive(void)
{
    while ((TFIN_REG(UART_FLAGS) & FLAG_EMPTY) == 0) {
        uint32_t data = TFIN_REG(UART_DATA);
        if ((data & DATA_OVERRUN) != 0) {
            tfin_ring_overrun();
        }
        tfin_ring_put((uint8_t)data);
    }
}

__attribute__((section(".vectors.interrupts"), used))
const tfin_vector tfin_interrupts[UART_INTERRUPT + 1] = {
    [UART_INTERRUPT] = receive,
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
        for (uint32_t turns = 0; (TFIN_REG(UART_FLAGS) & FLAG_FULL) != 0; turns++) {
            if (turns == TFIN_PORT_SEND_TURNS) {
                return;
            }
        }
        TFIN_REG(UART_DATA) = data[i];
    }
}

int tfin_port_set_baud(uint32_t baud)
{
    uint32_t divisor = tfin_divisor(uart_hz * 4u, baud);
    if (divisor < 1u << 6 || divisor > 0xFFFFu << 6) {
        return 0;
    }
    for (uint32_t turns = 0; (TFIN_REG(UART_FLAGS) & FLAG_BUSY) != 0; turns++) {
        if (turns == TFIN_PORT_SEND_TURNS) {
            return 0;
        }
    }
    set_divisor(divisor);
    return 1;
}

uint32_t tfin_port_ticks(void)
{
    return tfin_cortex_m_systick();
}

uint32_t tfin_port_noise(void)
{
    uint32_t noise = 0;
    for (uint32_t i = 0; i < 32; i++) {
        noise = noise << 1 | (TFIN_REG(ROSC_RANDOMBIT) & 1u);
    }
    return noise;
}

/* By the watchdog: the core's own reset request would leave the clocks as they are. All but the
 * oscillators is reset, and the boot ROM takes the way through flash. */
void tfin_port_reset(void)
{
    TFIN_REG(WATCHDOG_SCRATCH4) = 0;
    TFIN_REG(PSM_WDSEL) = 0x1FFFCu;
    TFIN_REG(WATCHDOG_CTRL + SET) = 1u << 31;
    for (;;) {
    }
}
