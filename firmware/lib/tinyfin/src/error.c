/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyfin.h"

const char *tfin_error_name(int error)
{
#ifdef TFIN_NO_ERROR_TEXT
    (void)error;
    return "";
#else
    switch (error) {
#define TFIN_CASE(name, value, text) \
    case value: return #name ": " text;
        TFIN_ERRORS(TFIN_CASE)
#undef TFIN_CASE
    default: return "unknown error";
    }
#endif
}
