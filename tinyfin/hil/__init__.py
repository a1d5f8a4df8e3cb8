# SPDX-License-Identifier: Apache-2.0
"""Hardware in the loop: the same transactions on a terminal and on the twin, compared."""
