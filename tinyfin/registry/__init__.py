# SPDX-License-Identifier: Apache-2.0
"""Which packs there are, what they rest on, who has approved them, and where they are in service:
docs/registry.md. Content is an OCI image layout, and what happened a log of signed events."""
