# SPDX-License-Identifier: Apache-2.0
"""Hardware in the loop: the same transactions on a terminal and on the twin, compared.

In the order of their work: ``lines`` (to one terminal), ``replays`` (over it, compared),
``reporting`` (what came of it, as a page), ``measure`` (what it costs), ``rigs`` (what is on a
bench), ``runs`` (all of it on every target), ``plugin`` and ``bench_terminal`` (the same in
pytest), ``demo``.
"""
