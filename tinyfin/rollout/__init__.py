# SPDX-License-Identifier: Apache-2.0
"""Campaigns: a new pack for many terminals, wave by wave, as long as its gates hold."""
