# SPDX-License-Identifier: Apache-2.0
"""A firmware project of one's own to begin with: ``tinyfin init``."""
