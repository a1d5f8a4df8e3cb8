/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLASH_IN_RAM_H
#define FLASH_IN_RAM_H

/* Keeps the flash as it is now; brings back what was changed since. */
void flash_in_ram_save(void);
void flash_in_ram_restore(void);

#endif
