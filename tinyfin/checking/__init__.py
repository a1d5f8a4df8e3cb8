# SPDX-License-Identifier: Apache-2.0
"""What is the matter with files of transactions, before anything is made of them."""
