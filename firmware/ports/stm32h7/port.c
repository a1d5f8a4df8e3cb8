/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STM32H742, H743, H750, H753, their core clocked from the internal oscillator, so that no crystal
 * is needed; the core's supply is the chip's own regulator (LDO), as on the Nucleo boards. The
 * board file says in build.f_cpu how fast the core runs (a multiple of 8 MHz, 96 to 400 MHz) and in
 * "defines" what leads to the host: TFIN_PORT_USART=1, 2, 3 or 6, and its pins TFIN_PORT_TX=PD8 and
 * TFIN_PORT_RX=PD9. Registers: RM0433.
 */
#define RCC 0x58024400u
#define RCC_CR (RCC + 0x00u)
#define RCC_CFGR (RCC + 0x10u)
#define RCC_D1CFGR (RCC + 0x18u)
#define RCC_D2CFGR (RCC + 0x1Cu)
#define RCC_D3CFGR (RCC + 0x20u)
#define RCC_PLLCKSELR (RCC + 0x28u)
#define RCC_PLLCFGR (RCC + 0x2Cu)
#define RCC_PLL1DIVR (RCC + 0x30u)
#define RCC_AHB2ENR (RCC + 0xDCu)
#define RCC_AHB4ENR (RCC + 0xE0u)
#define RCC_APB1LENR (RCC + 0xE8u)
#define RCC_APB2ENR (RCC + 0xF0u)
#define PWR_CSR1 0x58024804u
#define PWR_CR3 0x5802480Cu
#define PWR_D3CR 0x58024818u
#define FLASH_ACR 0x52002000u
#define GPIOA 0x58020000u
#define RNG 0x48021800u
#define UNIQUE_ID 0x1FF1E800u

#define USART_HAS_ISR
#define USART_FUNCTION 7u
#if TFIN_PORT_USART == 1
#define USART 0x40011000u
#define USART_INTERRUPT 37u
#define USART_ENABLE RCC_APB2ENR
#define USART_ENABLE_BIT (1u << 4)
#elif TFIN_PORT_USART == 2
#define USART_INTERRUPT 38u
#define USART_ENABLE RCC_APB1LENR
#define USART_ENABLE_BIT (1u << 17)
#elif TFIN_PORT_USART == 3
#define USART_INTERRUPT 39u
#define USART_ENABLE RCC_APB1LENR
#define USART_ENABLE_BIT (1u << 18)
#elif TFIN_PORT_USART == 6
#define USART 0x40011400u
#define USART_INTERRUPT 71u
#define USART_ENABLE RCC_APB2ENR
#define USART_ENABLE_BIT (1u << 5)
#else
#error "the board file lacks the UART, 1, 2, 3 or 6: \"defines\": \
[\"TFIN_PORT_USART=3\", \"TFIN_PORT_TX=PD8\", \"TFIN_PORT_RX=PD9\"]"
#endif
#if !defined(TFIN_PORT_TX) || !defined(TFIN_PORT_RX)
#error "the board file lacks the UART's pins: \"defines\": \
[\"TFIN_PORT_TX=PD8\", \"TFIN_PORT_RX=PD9\"]"
#endif
#if F_CPU < 96000000 || F_CPU > 400000000 || F_CPU % 8000000 != 0
#error "build.f_cpu: an STM32H7 runs at a multiple of 8 MHz, from 96000000L to 400000000L"
#endif

#define CR_HSI48ON (1u << 12)
#define CR_HSI48RDY (1u << 13)
#define CR_PLL1ON (1u << 24)
#define CR_PLL1RDY (1u << 25)
#define VOSRDY (1u << 13) /* in PWR_D3CR, and as ACTVOSRDY in PWR_CSR1 */
#define WAIT_TURNS 100000u

#include "stm32.h"

/* HSI 64 MHz / 4 * PLL_FACTOR is the PLL's clock, 192 to 800 MHz; half of it clocks the core. The
 * buses' matrix runs at 200 MHz at most, the peripheral buses at 100. */
#define PLL_FACTOR ((uint32_t)F_CPU / 8000000u)
#define MATRIX_SHIFT (F_CPU > 200000000 ? 1u : 0u)
#define MATRIX_MHZ (((uint32_t)F_CPU / 1000000u) >> MATRIX_SHIFT)
#define BUS_SHIFT (MATRIX_MHZ > 100u ? 1u : 0u)
#define BUS_PRESCALER (BUS_SHIFT == 0u ? 0u : 4u)
#define USART_HZ (((uint32_t)F_CPU >> MATRIX_SHIFT) >> BUS_SHIFT)
/* wait states, and in bits 4 and 5 how fast the flash is programmed: for voltage scale 1 */
#define FLASH_TIMING (MATRIX_MHZ > 185u ? 0x22u : MATRIX_MHZ > 140u ? 0x12u : 0x11u)
#define HSI_HZ 64000000u

#define SCB_CCR 0xE000ED14u
#define SCB_ICIALLU 0xE000EF50u
#define CCR_IC (1u << 17)

static int has_noise; /* the random number generator's oscillator runs */

/* Returns the clock of the bus that feeds the USART, in Hz. */
static uint32_t clock_init(void)
{
    /* the supply has to be chosen once after power-up; then voltage scale 1 for 400 MHz */
    TFIN_REG(PWR_CR3) = 2u; /* LDO */
    if (!wait_for(PWR_CSR1, VOSRDY, VOSRDY)) {
        return HSI_HZ;
    }
    TFIN_REG(PWR_D3CR) |= 3u << 14;
    if (!wait_for(PWR_D3CR, VOSRDY, VOSRDY)) {
        return HSI_HZ;
    }
    TFIN_REG(FLASH_ACR) = FLASH_TIMING;
    TFIN_REG(RCC_PLLCKSELR) = 4u << 4;              /* HSI / 4 for PLL1 */
    TFIN_REG(RCC_PLLCFGR) = (3u << 2) | (1u << 16); /* 8 to 16 MHz in, wide range, output P */
    TFIN_REG(RCC_PLL1DIVR) = (PLL_FACTOR - 1u) | (1u << 9); /* P divides by 2 */
    TFIN_REG(RCC_CR) |= CR_PLL1ON;
    if (!wait_for(RCC_CR, CR_PLL1RDY, CR_PLL1RDY)) {
        return HSI_HZ;
    }
    TFIN_REG(RCC_D1CFGR) = (MATRIX_SHIFT == 0u ? 0u : 8u) | (BUS_PRESCALER << 4);
    TFIN_REG(RCC_D2CFGR) = (BUS_PRESCALER << 4) | (BUS_PRESCALER << 8);
    TFIN_REG(RCC_D3CFGR) = BUS_PRESCALER << 4;
    TFIN_REG(RCC_CFGR) = 3u; /* run from PLL1 */
    /* until then the prescalers divide the oscillator */
    return wait_for(RCC_CFGR, 7u << 3, 3u << 3) ? USART_HZ : (HSI_HZ >> MATRIX_SHIFT) >> BUS_SHIFT;
}

static void instruction_cache_on(void)
{
    __asm volatile("dsb\n isb" ::: "memory");
    TFIN_REG(SCB_ICIALLU) = 0;
    __asm volatile("dsb\n isb" ::: "memory");
    TFIN_REG(SCB_CCR) |= CCR_IC;
    __asm volatile("dsb\n isb" ::: "memory");
}

void tfin_port_init(void)
{
    const uint32_t tx = TFIN_PORT_TX, rx = TFIN_PORT_RX;
    uint32_t hz = clock_init();
    instruction_cache_on();
    TFIN_REG(RCC_AHB4ENR) |= 1u << tx / 16u | 1u << rx / 16u;
    TFIN_REG(USART_ENABLE) |= USART_ENABLE_BIT;
    (void)TFIN_REG(USART_ENABLE); /* the clock runs two cycles after the write */
    stm32_pins(GPIOA, USART_FUNCTION, tx, rx);
    usart_start(hz);
    TFIN_REG(RCC_CR) |= CR_HSI48ON;
    has_noise = wait_for(RCC_CR, CR_HSI48RDY, CR_HSI48RDY);
    if (has_noise) {
        TFIN_REG(RCC_AHB2ENR) |= 1u << 6;
        (void)TFIN_REG(RCC_AHB2ENR);
        TFIN_REG(RNG) = 4u;
    }
    tfin_cortex_m_systick_start();
}

uint32_t tfin_port_noise(void)
{
    uint32_t noise = TFIN_REG(UNIQUE_ID) ^ TFIN_REG(UNIQUE_ID + 4u) ^ TFIN_REG(UNIQUE_ID + 8u);
    return has_noise && wait_for(RNG + 4u, 1u, 1u) ? noise ^ TFIN_REG(RNG + 8u) : noise;
}
