# SPDX-License-Identifier: Apache-2.0
"""The default features in Polars, as one would write them for a table that is complete.

Counts, runs and ratios are the twin's numbers, value for value (:data:`EQUAL`). Windows of time
slide here to the second and move by a bucket there, averages are floating point here and shifts
there, a card is never forgotten here: those columns are the same work, not the same numbers.
"""

from __future__ import annotations

from typing import Any

__all__ = ["EQUAL", "polars_features"]

EQUAL = (
    "amt_log",
    "amt_round",
    "amt_small_16",
    "amt_repeat",
    "amt_to_floor",
    "gap_s",
    "decl_ratio_16",
    "decl_run",
    "decl_inv",
    "entry_risk",
    "keyed_run",
    "chip_fail_then",
    "forced_reuse",
    "offline_run",
    "saf_fill",
)
"""Columns that must be the twin's in every row, when outcomes come at once."""

RISK = (0, 1, 2, 3, 5, 6, 4)
"""By code of the entry mode."""

FORCED = 6
"""Code of the transaction type."""

DAY_S = 86_400
MOST = 32767


def polars_features(pl: Any, columns: dict[str, Any], label_delay_s: int) -> Any:
    """A frame of the default features, a row for each of ``columns``, which are in order of time.

    ``columns``: row, terminal, t and label_t (datetimes), and the fields that the program reads.
    """
    frame = pl.DataFrame(columns).lazy()
    here, card = "terminal", "card"
    t, amount, entry = pl.col("t"), pl.col("amount"), pl.col("entry")
    approved, declined = pl.col("result") == 0, pl.col("result") == 1
    sale, refund = pl.col("type") < 3, pl.col("type") == 3

    def window(value: Any, seconds: int, key: Any = here) -> Any:
        return value.rolling_sum_by("t", window_size=f"{seconds}s").over(key)

    def last_16(value: Any) -> Any:
        return value.cast(pl.Int32).rolling_sum(16, min_samples=1).over(here)

    def before(value: Any, missing: int = 0) -> Any:
        return value.forward_fill().shift(1).over(here).fill_null(missing)

    def run(value: Any, ends: Any) -> Any:
        total = value.cast(pl.Int32).cum_sum()
        return total - pl.when(ends).then(total).forward_fill().fill_null(0)

    def since(time: Any) -> Any:
        return (t - time).dt.total_seconds().clip(0, MOST).fill_null(MOST)

    def part(value: Any, whole: str, factor: int, most: int) -> Any:
        by_floor = (factor * value).floordiv(pl.col(whole)).clip(upper_bound=most)
        return pl.when(pl.col(whole) > 0).then(by_floor).otherwise(0)

    def repeats(name: str, last: int) -> Any:
        value = pl.col(name)
        return sum(
            (value.shift(i).over(here) == value).fill_null(False).cast(pl.Int32)
            for i in range(1, last + 1)
        )

    log = (256 * (1 + amount).log(2)).round()
    one = pl.col("one")
    # one key is much faster than two; a card at a terminal has one of 2^64
    frame = frame.with_columns(card=pl.struct("terminal", "token").hash()).with_columns(
        one=pl.lit(1, pl.Int32),
        amt_log=log.cast(pl.Int32),
        answered=approved | declined,
        tok_gap=t.diff().over(card).dt.total_seconds(),
    )
    answers = frame.filter("answered").select(
        "row", decl_16=last_16(declined), inv_16=last_16(pl.col("response").is_in([14, 15, 54, 56]))
    )
    forced = frame.filter(pl.col("type") == FORCED).select("row", reuse=repeats("approval", 8))
    spread = pl.col("amt_log") - pl.col("amt_log").ewm_mean(alpha=1 / 32, adjust=False).shift(1)
    sales = frame.filter(approved & sale).select(
        "row",
        sale_mean=pl.col("amt_log").ewm_mean(alpha=1 / 32, adjust=False).over(here),
        sale_spread=spread.abs().fill_null(0).ewm_mean(alpha=1 / 32, adjust=False).over(here),
        sale_count=one.cum_sum().over(here),
    )
    rate = window(one, 900)
    mean = rate.ewm_mean(alpha=1 / 128, adjust=False).shift(1).over(here)
    off = (rate - mean).abs().fill_null(0).ewm_mean(alpha=1 / 128, adjust=False).shift(1)
    sold = amount * (approved & sale)
    bought = (amount * (approved & sale)).cum_sum() - sold
    times = (approved & sale).cast(pl.Int32).cum_sum() - (approved & sale).cast(pl.Int32)
    labels = (
        frame.filter(pl.col("label") >= 0)
        .select(
            here,
            t=pl.col("label_t"),
            known=pl.col("label"),
            frauds=pl.col("label")
            .cast(pl.Int32)
            .rolling_sum_by("t", window_size=f"{28 * DAY_S - label_delay_s}s")
            .over(here),
            labels=window(one, 28 * DAY_S - label_delay_s),
        )
        .sort("t")
    )
    frame = (
        frame.join(answers, on="row", how="left", maintain_order="left")
        .join(sales, on="row", how="left", maintain_order="left")
        .join(forced, on="row", how="left", maintain_order="left")
        .with_columns(
            rate=rate,
            rate_mean=mean,
            rate_spread=off.over(here),
            sale_mean=before(pl.col("sale_mean")),
            sale_spread=before(pl.col("sale_spread")),
            sale_count=before(pl.col("sale_count")),
        )
        .join_asof(labels, on="t", by=here, check_sortedness=False)
    )
    hours = [here, t.dt.hour()]
    seen = approved.cast(pl.Int32).cum_sum() - approved.cast(pl.Int32)
    failed = pl.col("chip_failures") > 0
    failed_at = pl.when(failed).then(t)
    fell_back = entry.is_in([3, 4, 5])
    card_mean = (bought / times).over(card)
    keyed, offline = entry == 5, pl.col("offline") == 1
    return frame.select(
        amt_log=pl.col("amt_log"),
        amt_dev=pl.when(pl.col("sale_count") >= 4)
        .then(
            16
            * (pl.col("amt_log") - pl.col("sale_mean"))
            / pl.col("sale_spread").clip(lower_bound=8)
        )
        .otherwise(0),
        amt_round=pl.when(amount != 0)
        .then(sum(((amount % d) == 0).cast(pl.Int32) for d in (100, 1000, 10000)))
        .otherwise(0),
        amt_small_16=last_16(amount <= 200),
        amt_repeat=repeats("amount", 16),
        amt_to_floor=part(amount, "floor", 256, 1024),
        gap_s=since(t.shift(1).over(here)),
        rate_60=window(one, 60),
        rate_900_dev=pl.when(one.cum_sum().over(here) > 16)
        .then(
            16 * (pl.col("rate") - pl.col("rate_mean")) / pl.col("rate_spread").clip(lower_bound=1)
        )
        .otherwise(0),
        hour_rare=256 * (1 - (seen.over(hours) + 1) / (seen.over(here) + 24)),
        tok_seen_cnt=(window(one, DAY_S, card) - 1).clip(0, 255),
        tok_gap_s=pl.col("tok_gap").clip(0, MOST).fill_null(MOST),
        tok_distinct_300=window((pl.col("tok_gap").fill_null(MOST) >= 300).cast(pl.Int32), 300),
        new_tok_share=16 * last_16(pl.col("token").is_first_distinct().over(here)),
        decl_ratio_16=16 * before(pl.col("decl_16")),
        decl_run=run(declined, approved).shift(1).over(here).fill_null(0),
        decl_inv=before(pl.col("inv_16")),
        entry_risk=entry.replace_strict(list(range(7)), RISK, default=-1),
        entry_rare=256 * (1 - seen.over([here, "entry"]) / (seen.over(here) + 1)),
        keyed_run=run(keyed, ~keyed).over(here),
        chip_fail_then=pl.when(fell_back)
        .then(pl.when(failed).then(0).otherwise(since(before_time(failed_at, here))))
        .otherwise(MOST),
        refund_ratio=(
            256 * window(amount * (approved & refund), DAY_S) / (window(sold, DAY_S) + 1)
        ).clip(upper_bound=1024),
        refund_unlinked=(refund & (card_mean.is_nan() | (amount > 2 * card_mean))).cast(pl.Int32),
        forced_reuse=pl.col("reuse").fill_null(0),
        offline_run=pl.when(offline)
        .then(1 + run(approved & offline, approved & ~offline).shift(1).over(here).fill_null(0))
        .otherwise(0),
        saf_fill=part(pl.col("queued"), "floor", 64, 16384),
        link_flap=window(pl.col("link_downs").diff().over(here).clip(0, 127).fill_null(0), 3600),
        known_last=pl.col("known").fill_null(0),
        known_rate_28d=1024 * pl.col("frauds").fill_null(0) / (pl.col("labels").fill_null(0) + 1),
    ).collect()


def before_time(time: Any, key: str) -> Any:
    """The last of ``time`` that was there before this row."""
    return time.forward_fill().shift(1).over(key)
