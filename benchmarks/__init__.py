# SPDX-License-Identifier: Apache-2.0
"""What `make bench` measures: engine and networks on every target, features against others."""
