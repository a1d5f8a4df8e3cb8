# SPDX-License-Identifier: Apache-2.0
"""``names = "auto"``: the features that a file can feed.

A feature is taken when the file has every field that it reads, a card where it remembers cards,
responses where it learns from them, labels where it learns from notices. A field that is a constant
of the mapping says nothing and counts as not there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tinyfin.config import Column, Config
from tinyfin.config.sections import Features
from tinyfin.features.catalogue import AUTO, LABEL_FREE
from tinyfin.features.catalogue.base import SALE_TYPES
from tinyfin.features.definition import Feature
from tinyfin.features.graph import walk
from tinyfin.features.operators import CARD, LABELLED
from tinyfin.features.selection import select
from tinyfin.schema import PAYMENT, Field, Schema

__all__ = ["AUTO_NAME", "fed_names", "resolve_names"]

AUTO_NAME = "auto"


_MCC_RISK = {
    "expression": "mcc",
    "risk": "learn",
    "reason": 0,
    "doc": "64 * log2 of the odds of fraud at this merchant category, against all; learned",
}


def resolve_names(config: Config, columns: Collection[str], *, labels: bool = True) -> Features:
    """[features] with names for files that have ``columns``; as it is unless names are "auto".

    Of a payment schema: the catalogue's AUTO (or LABEL_FREE) as far as it is fed, then the fields
    that the schema appends. Of another schema: its fields as they are. What the section itself
    defines follows.
    ``labels=False``: for a family that learns without labels.
    """
    section = config.features
    if section.names != AUTO_NAME:
        return section
    fed = fed_names(config.data.resolved(config.schema), columns)
    notices = labels and config.data.notices != "none" and "label" in fed
    named: list[str] = []
    rest = config.schema.fields
    if _is_payment(config.schema):
        these = AUTO if labels else LABEL_FREE
        named = [name for name in these if _is_fed(select([name])[0], fed, notices)]
        rest = rest[len(PAYMENT.fields) :]
    plain: dict[str, dict[str, object]] = {}
    if named and notices and "mcc" in fed:
        plain["mcc_risk"] = _MCC_RISK
    plain |= {f.name: _as_it_stands(f) for f in rest if f.unit != "token" and f.name in fed}
    define = {**{k: v for k, v in plain.items() if k not in section.define}, **section.define}
    return section.model_copy(update={"names": [*named, *define], "define": define})


def fed_names(mapping: Mapping[str, Column], columns: Collection[str]) -> set[str]:
    """The names of [data] that files with these columns fill."""
    there = set(columns)
    fed = {
        name
        for name, how in mapping.items()
        if how.constant is None
        and {how.column, *(how.one_hot or ()), *(how.columns or ())} - {None} <= there
    }
    if any(mapping[name].negative == "refund" for name in fed):
        fed.add("transaction_type")  # refunds are known by their sign
    return fed


def _is_payment(schema: Schema) -> bool:
    """It begins with the payment schema's fields, whatever follows them."""
    return schema.fields[: len(PAYMENT.fields)] == PAYMENT.fields


def _as_it_stands(field: Field) -> dict[str, object]:
    if field.unit == "minor":
        return {"expression": f"log2({field.name})"}
    return {"op": "field", "name": field.name}


def _is_fed(feature: Feature, fed: Collection[str], notices: bool) -> bool:
    nodes = list(walk(feature.expression))
    there = set(fed)
    asked = [set(x.values) for x in nodes if x.field == "transaction_type" and x.values]
    if asked and all(values & set(SALE_TYPES) for values in asked):
        # who has no types has sales only, so what asks for sales is what it was
        there.add("transaction_type")
    for x in nodes:
        operator = x.operator.name
        if x.field is not None and x.field not in there:
            return False
        if x.key == CARD and "token" not in fed:
            return False
        if operator == "OUTCOME" and not {"response", "result"} & there:
            return False
        if operator in LABELLED and not notices:
            return False
    return True
