# SPDX-License-Identifier: Apache-2.0
"""Fleets that do not exist, and what a campaign makes of good and bad packs in them.

packs        candidates that are really trained, and the ways in which a pack may be bad
probations   how the probation of a pack ends at a terminal, from every day on
bank         what each pack does at each terminal of simulated towns, day by day
fleet        a million terminals that behave as those of the bank do
campaign     a campaign of the rollout controller in such a fleet, and how it ended
"""
