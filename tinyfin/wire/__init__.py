# SPDX-License-Identifier: Apache-2.0
"""The wire between host and terminal: links, frames, messages and the client."""
