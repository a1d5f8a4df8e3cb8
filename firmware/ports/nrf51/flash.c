/* SPDX-License-Identifier: Apache-2.0 */
#ifdef TFIN_PORT_FLASH
#define NRF5_PAGE 1024u
#define NRF5_JOURNAL 2048u
#define NRF5_ERASE_MS 23
#include "nrf5_flash.h"
#endif
