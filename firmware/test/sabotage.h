/* SPDX-License-Identifier: Apache-2.0 */
/* For builds with TFIN_SABOTAGE_OPERATOR=shim_sabotaged_operator: the code of the operator that is
 * off by one, chosen while running. */
#ifndef TINYFIN_TEST_SABOTAGE_H
#define TINYFIN_TEST_SABOTAGE_H

extern int shim_sabotaged_operator;

#endif
