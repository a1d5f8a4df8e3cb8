/* SPDX-License-Identifier: Apache-2.0 */
/* What all Cortex-M families share: vectors, faults, reset, semihosting exit, SysTick. */
#ifndef TFIN_CORTEX_M_H
#define TFIN_CORTEX_M_H

#include <stdint.h>

#define TFIN_REG(address) (*(volatile uint32_t *)(address))

/* SysTick as a free-running 24-bit counter at the core's clock; returns when it runs. */
void tfin_cortex_m_systick_start(void);
uint32_t tfin_cortex_m_systick(void); /* counts up, 24 bits */

#endif
