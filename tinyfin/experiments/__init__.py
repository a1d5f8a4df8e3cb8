# SPDX-License-Identifier: Apache-2.0
"""Experiments on a fleet: two packs, terminals that are drawn, and one metric: docs/experiments.md.

Terminals are clusters: events of one terminal are alike, so each terminal counts once.
"""
