# SPDX-License-Identifier: Apache-2.0
"""Why one event got its verdict: contributions, Shapley values, and what would have changed it."""
