/* SPDX-License-Identifier: Apache-2.0 */
/* A device's registers, by address. A test defines TFIN_REGISTER to put memory of its
 * own in their place. */
#ifndef TFIN_REGISTERS_H
#define TFIN_REGISTERS_H

#include <stdint.h>

#ifndef TFIN_REGISTER
#define TFIN_REGISTER(address) ((uintptr_t)(address))
#endif

#define TFIN_REG(address) (*(volatile uint32_t *)TFIN_REGISTER(address))
#define TFIN_REG16(address) (*(volatile uint16_t *)TFIN_REGISTER(address))
#define TFIN_REG8(address) (*(volatile uint8_t *)TFIN_REGISTER(address))

#endif
