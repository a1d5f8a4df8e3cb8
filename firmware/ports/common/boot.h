/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the startup code of all families. The symbols come from the linker script. */
#ifndef TFIN_BOOT_H
#define TFIN_BOOT_H

#include <stdint.h>

extern uint32_t tfin_ld_data_image[], tfin_ld_data[], tfin_ld_data_end[];
extern uint32_t tfin_ld_bss[], tfin_ld_bss_end[];
extern uint32_t tfin_ld_stack_low[], tfin_ld_stack_top[];
extern volatile uint32_t tfin_boot_seed; /* the first word of RAM, left alone by startup */

/* From a valid stack pointer to main(): variables, stack pattern, tfin_port_init, main. */
void tfin_port_boot(void) __attribute__((noreturn));

#endif
