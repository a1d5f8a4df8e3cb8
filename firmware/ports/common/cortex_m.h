/* SPDX-License-Identifier: Apache-2.0 */
/* What all Cortex-M families share: vectors, faults, reset, semihosting exit, SysTick. */
#ifndef TFIN_CORTEX_M_H
#define TFIN_CORTEX_M_H

#include <stdint.h>

#include "registers.h"

/* A port's interrupts follow the system's exceptions: it defines an array of these, by interrupt
 * number, in section .vectors.interrupts. None is enabled unless the port does. */
typedef void (*tfin_vector)(void);
void tfin_cortex_m_enable(uint32_t interrupt);

/* Where an exception that is a fault ends. A port may define a handler of its own for the NMI. */
void tfin_cortex_m_fault(void);
void tfin_cortex_m_nmi(void);

/* SysTick as a free-running 24-bit counter at the core's clock; returns when it runs. */
void tfin_cortex_m_systick_start(void);
uint32_t tfin_cortex_m_systick(void); /* counts up, 24 bits */

#endif
