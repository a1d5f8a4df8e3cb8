/* SPDX-License-Identifier: Apache-2.0 */
#include "net_plan.h"

int tfin_net_inside(uint32_t at, uint32_t bytes, uint32_t size)
{
#ifdef TFIN_TEST_NO_BOUNDS
    /* wrong on purpose: the fuzz test must notice */
    return (at & 7u) == 0 && at <= size && bytes != 0;
#else
    return (at & 7u) == 0 && at < size && bytes - 1u < size - at;
#endif
}
