/* SPDX-License-Identifier: Apache-2.0 */
/* In this folder: what the example calls of ESP-IDF, as its documentation declares it. */
#pragma once
typedef int esp_err_t;
#define ESP_OK 0
#define ESP_FAIL (-1)
#define ESP_ERR_INVALID_SIZE 0x104
void esp_error_check_failed(esp_err_t error);
#define ESP_ERROR_CHECK(x)                      \
    do {                                        \
        esp_err_t error_of_x = (x);             \
        if (error_of_x != ESP_OK) {             \
            esp_error_check_failed(error_of_x); \
        }                                       \
    } while (0)
