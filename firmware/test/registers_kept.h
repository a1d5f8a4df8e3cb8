/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TFIN_REGISTERS_KEPT_H
#define TFIN_REGISTERS_KEPT_H

#include <stdint.h>

/* Registers, over all calls of the core's kernel so far, that it did not give back as they were. */
extern uint32_t tfin_test_registers_spoilt;

#endif
