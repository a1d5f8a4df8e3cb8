# SPDX-License-Identifier: Apache-2.0
"""The default features in pandas: the columns of :mod:`benchmarks.features_in_polars`."""

from __future__ import annotations

from typing import Any

from benchmarks.features_in_polars import DAY_S, FORCED, MOST, RISK

__all__ = ["pandas_features"]


def pandas_features(pd: Any, columns: dict[str, Any], label_delay_s: int) -> Any:
    """A DataFrame of the default features in the order of ``columns``, which are in order of
    time."""
    frame = pd.DataFrame(columns)
    frame["one"] = 1.0
    frame["approved"], frame["declined"] = frame["result"] == 0, frame["result"] == 1
    frame["keyed"] = frame["entry"] == 5
    here = ["terminal"]
    card = ["terminal", "token"]
    amount, t = frame["amount"], frame["t"]

    def window(name: str, seconds: int, key: list[str] = here) -> Any:
        rolled = frame.set_index("t").groupby(key)[name].rolling(f"{seconds}s").sum()
        rows = frame.groupby(key)["row"].apply(lambda row: row)
        return pd.Series(rolled.to_numpy(), index=rows.to_numpy()).sort_index()

    def last_16(values: Any) -> Any:
        rolled = values.astype(float).groupby(frame["terminal"]).rolling(16, min_periods=1).sum()
        return rolled.droplevel(0).reindex(frame.index)

    def grouped(values: Any) -> Any:
        return values.groupby(frame["terminal"])

    def before(values: Any, missing: int = 0) -> Any:
        return grouped(grouped(values).ffill()).shift(1).fillna(missing)

    def run(values: Any, ends: Any) -> Any:
        total = grouped(values.astype(float)).cumsum()
        return total - grouped(total.where(ends)).ffill().fillna(0)

    def ewm(values: Any, shift: int) -> Any:
        return grouped(values).transform(lambda v: v.ewm(alpha=2.0**-shift, adjust=False).mean())

    def since(times: Any) -> Any:
        return (t - times).dt.total_seconds().clip(0, MOST).fillna(MOST)

    def part(values: Any, factor: int, most: int) -> Any:
        floor = frame["floor"]
        return (factor * values // floor.where(floor > 0)).clip(upper=most).fillna(0)

    import numpy as np

    out = pd.DataFrame(index=frame.index)
    approved, declined, keyed = frame["approved"], frame["declined"], frame["keyed"]
    sale = approved & (frame["type"] < 3)
    refund = frame["type"] == 3
    out["amt_log"] = (256 * np.log2(1 + amount)).round()
    log = out["amt_log"].where(sale)
    mean = ewm(log, 5)
    spread = ewm((log - before(mean)).abs(), 5)
    sales = grouped(sale.astype(int)).cumsum() - sale
    dev = 16 * (out["amt_log"] - before(mean)) / before(spread).clip(lower=8)
    out["amt_dev"] = dev.where(sales >= 4, 0)
    whole = sum((amount % d == 0).astype(int) for d in (100, 1000, 10000))
    out["amt_round"] = whole.where(amount != 0, 0)
    out["amt_small_16"] = last_16(amount <= 200)
    repeats = (grouped(amount).shift(i) == amount for i in range(1, 17))
    out["amt_repeat"] = sum(equal.astype(int) for equal in repeats)
    out["amt_to_floor"] = part(amount, 256, 1024)
    out["gap_s"] = since(grouped(t).shift(1))
    out["rate_60"] = window("one", 60)
    rate = window("one", 900)
    rate_mean = grouped(ewm(rate, 7)).shift(1)
    rate_spread = grouped(ewm((rate - rate_mean).abs().fillna(0), 7)).shift(1)
    numbers = frame.groupby(here).cumcount()
    score = 16 * (rate - rate_mean) / rate_spread.clip(lower=1)
    out["rate_900_dev"] = score.where(numbers >= 16, 0)
    seen = grouped(approved.astype(int)).cumsum() - approved
    hour = [frame["terminal"], t.dt.hour]
    in_hour = approved.astype(int).groupby(hour).cumsum() - approved
    out["hour_rare"] = 256 * (1 - (in_hour + 1) / (seen + 24))
    out["tok_seen_cnt"] = (window("one", DAY_S, card) - 1).clip(0, 255)
    gap = frame.groupby(card)["t"].diff().dt.total_seconds()
    out["tok_gap_s"] = gap.clip(0, MOST).fillna(MOST)
    frame["fresh"] = (gap.fillna(MOST) >= 300).astype(float)
    out["tok_distinct_300"] = window("fresh", 300)
    out["new_tok_share"] = 16 * last_16(~frame.duplicated(card))
    answered = frame[approved | declined]
    inverse = answered["response"].isin([14, 15, 54, 56])
    for name, values in (("decl_ratio_16", answered["declined"] * 16), ("decl_inv", inverse)):
        rolled = values.astype(float).groupby(answered["terminal"]).rolling(16, min_periods=1)
        out[name] = before(rolled.sum().droplevel(0).reindex(frame.index))
    out["decl_run"] = grouped(run(declined, approved)).shift(1).fillna(0)
    out["entry_risk"] = frame["entry"].map(dict(enumerate(RISK))).fillna(-1)
    mode = [frame["terminal"], frame["entry"]]
    in_mode = approved.astype(int).groupby(mode).cumsum() - approved
    out["entry_rare"] = 256 * (1 - in_mode / (seen + 1))
    out["keyed_run"] = run(keyed, ~keyed)
    failed = frame["chip_failures"] > 0
    failed_at = grouped(grouped(t.where(failed)).ffill()).shift(1)
    out["chip_fail_then"] = (
        since(failed_at).where(~failed, 0).where(frame["entry"].isin([3, 4, 5]), MOST)
    )
    frame["sold"], frame["refunded"] = amount * sale, amount * (approved & refund)
    ratio = 256 * window("refunded", DAY_S) / (window("sold", DAY_S) + 1)
    out["refund_ratio"] = ratio.clip(upper=1024)
    cards = [frame["terminal"], frame["token"]]
    bought = frame["sold"].groupby(cards).cumsum() - frame["sold"]
    times = sale.astype(int).groupby(cards).cumsum() - sale
    mean_here = bought / times.where(times > 0)
    out["refund_unlinked"] = (refund & (mean_here.isna() | (amount > 2 * mean_here))).astype(int)
    codes = frame["approval"][frame["type"] == FORCED]
    here_forced = frame["terminal"][codes.index]
    reuse = sum((codes.groupby(here_forced).shift(i) == codes).astype(int) for i in range(1, 9))
    out["forced_reuse"] = reuse.reindex(frame.index, fill_value=0)
    offline = frame["offline"] == 1
    runs = grouped(run(approved & offline, approved & ~offline)).shift(1).fillna(0)
    out["offline_run"] = (runs + 1).where(offline, 0)
    out["saf_fill"] = part(frame["queued"], 64, 16384)
    frame["downs"] = grouped(frame["link_downs"]).diff().clip(0, 127).fillna(0).astype(float)
    out["link_flap"] = window("downs", 3600)
    labels = frame[frame["label"] >= 0]
    known = labels[["terminal", "label_t", "label"]].set_index("label_t").groupby("terminal")
    rolled = known["label"].rolling(f"{28 * DAY_S - label_delay_s}s").agg(["sum", "count"])
    rolled["known"] = labels.groupby("terminal")["label"].apply(lambda v: v).to_numpy()
    rolled = rolled.reset_index().rename(columns={"label_t": "t"}).sort_values("t", kind="stable")
    joined = pd.merge_asof(frame[["t", "terminal"]], rolled, on="t", by="terminal").fillna(0)
    out["known_last"] = joined["known"].to_numpy()
    out["known_rate_28d"] = (1024 * joined["sum"] / (joined["count"] + 1)).to_numpy()
    return out
