/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
int printf(const char *format, ...);
