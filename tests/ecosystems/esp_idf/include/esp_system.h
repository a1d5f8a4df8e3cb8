/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
void esp_restart(void) __attribute__((__noreturn__));
