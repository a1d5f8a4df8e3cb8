/* SPDX-License-Identifier: Apache-2.0 */
/* For Arduino, which looks for the headers of a library here. */
#include "../include/tinyfin_emv.h"
