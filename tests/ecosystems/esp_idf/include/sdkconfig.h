/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#define CONFIG_ESP_DEFAULT_CPU_FREQ_MHZ 160
