/* SPDX-License-Identifier: Apache-2.0 */
#ifdef TFIN_PORT_FLASH
#define NRF5_PAGE 4096u
#define NRF5_JOURNAL 4096u
#define NRF5_ERASE_MS 90
#include "nrf5_flash.h"
#endif
