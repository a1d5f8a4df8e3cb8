# SPDX-License-Identifier: Apache-2.0
"""The fixed pack of a run on later transactions: drift, alerts, and what labels say."""
