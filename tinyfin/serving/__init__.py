# SPDX-License-Identifier: Apache-2.0
"""What runs online at a host: the host's fields of cards, and verdicts over HTTP."""
