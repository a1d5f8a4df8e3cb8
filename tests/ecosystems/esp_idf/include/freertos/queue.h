/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
typedef struct QueueDefinition *QueueHandle_t;
