/* SPDX-License-Identifier: Apache-2.0 */
#include "cortex_m.h"

#include "boot.h"
#include "port.h"
#include "ring.h"

#define SYST_CSR 0xE000E010u
#define SYST_RVR 0xE000E014u
#define SYST_CVR 0xE000E018u
#define NVIC_ISER 0xE000E100u
#define SCB_VTOR 0xE000ED08u
#define SCB_AIRCR 0xE000ED0Cu
#define SCB_CPACR 0xE000ED88u
#define SYSTICK_MAX 0xFFFFFFu

void tfin_start(void);

/* The system's exceptions; a port's interrupts, if it enables any, follow in
 * .vectors.interrupts. */
__attribute__((section(".vectors"), used)) const tfin_vector tfin_vectors[16] = {
    (tfin_vector)(uintptr_t)tfin_ld_stack_top,
    tfin_start,
    tfin_cortex_m_nmi,
    tfin_cortex_m_fault, /* HardFault */
    tfin_cortex_m_fault, /* MemManage */
    tfin_cortex_m_fault, /* BusFault */
    tfin_cortex_m_fault, /* UsageFault */
    tfin_cortex_m_fault, /* SecureFault */
    0,
    0,
    0,
    tfin_cortex_m_fault, /* SVCall */
    tfin_cortex_m_fault, /* DebugMonitor */
    0,
    tfin_cortex_m_fault, /* PendSV */
    tfin_cortex_m_fault, /* SysTick */
};

void tfin_start(void)
{
#if __ARM_ARCH_ISA_THUMB == 2 /* an Armv6-M core need not have the register */
    TFIN_REG(SCB_VTOR) = (uint32_t)(uintptr_t)tfin_vectors; /* not those of a bootloader */
#endif
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    /* CP10 and CP11: full access, before the first vector instruction */
    TFIN_REG(SCB_CPACR) |= 0xFu << 20;
    __asm volatile("dsb\n isb" ::: "memory");
#endif
    tfin_port_boot();
}

/* A fault cannot be reported: the host sees a target that does not answer. */
void tfin_cortex_m_fault(void)
{
    for (;;) {
    }
}

/* weak: where flash has codes, an error of one may raise it */
void tfin_cortex_m_nmi(void) __attribute__((weak, alias("tfin_cortex_m_fault")));

/* weak: a chip may need more than its core's reset request */
__attribute__((weak)) void tfin_port_reset(void)
{
    __asm volatile("dsb" ::: "memory");
    TFIN_REG(SCB_AIRCR) = 0x05FA0004u; /* VECTKEY, SYSRESETREQ */
    for (;;) {
    }
}

void tfin_port_exit(int code)
{
    /* semihosting SYS_EXIT_EXTENDED; without a debugger the breakpoint is a fault, which stays */
    uint32_t block[2] = {0x20026u, (uint32_t)code};
    register uint32_t r0 __asm("r0") = 0x20u;
    register uint32_t *r1 __asm("r1") = block;
    __asm volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    for (;;) {
    }
}

void tfin_cortex_m_enable(uint32_t interrupt)
{
    TFIN_REG(NVIC_ISER + interrupt / 32u * 4u) = 1u << (interrupt % 32u);
}

void tfin_port_idle(void)
{
    /* masked, an interrupt still ends the wait, so none falls between the look and the sleep */
    __asm volatile("cpsid i" ::: "memory");
    if (tfin_ring_empty()) {
        __asm volatile("dsb\n wfi" ::: "memory");
    }
    __asm volatile("cpsie i\n isb" ::: "memory");
}

void tfin_cortex_m_systick_start(void)
{
    TFIN_REG(SYST_RVR) = SYSTICK_MAX;
    TFIN_REG(SYST_CVR) = 0;
    TFIN_REG(SYST_CSR) = 5; /* core clock, no interrupt, run */
    /* the value is 0 until the first reload */
    for (uint32_t turns = 0; turns < 1000u && TFIN_REG(SYST_CVR) == 0; turns++) {
    }
}

uint32_t tfin_cortex_m_systick(void)
{
    return SYSTICK_MAX - (TFIN_REG(SYST_CVR) & SYSTICK_MAX);
}
