# SPDX-License-Identifier: Apache-2.0
"""A candidate for the place of a pack in the field: judged with labels, and given the bounds within
which terminals may take it (docs/release.md).

paired      both packs' scores as windows of terminals, their tables and statistics, in integers
bounds      from windows of healthy terminals to the numbers of PROB
scored      DATA through both packs
judgement   what labels say of both, and what refuses the candidate
workflow    all of it, and the files
page        the report
"""
