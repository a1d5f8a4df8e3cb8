/* SPDX-License-Identifier: Apache-2.0 */
/* In this folder: what the example calls of Zephyr, as its documentation declares it. */
#pragma once
#include <stddef.h>
#include <stdint.h>
int64_t k_uptime_get(void);
