# SPDX-License-Identifier: Apache-2.0
"""``names = "auto"``: the features that a file can feed.

A feature is taken when the file has every field that it reads, a card where it remembers cards,
responses where it learns from them, labels where it learns from notices. A field that is a constant
of the mapping says nothing and counts as not there. What becomes of a field of the user's own
depends on its unit; its reason names the field.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tinyfin.config import Column, Config
from tinyfin.config.sections import Features
from tinyfin.features.catalogue import AUTO, BY_NAME, HOST, HOST_ODDS, LABEL_FREE
from tinyfin.features.catalogue.base import SALE_TYPES
from tinyfin.features.definition import Feature
from tinyfin.features.graph import walk
from tinyfin.features.operators import CARD, LABELLED
from tinyfin.features.selection import select
from tinyfin.schema import PAYMENT, Field, Schema

__all__ = ["AUTO_NAME", "fed_names", "resolve_names"]

AUTO_NAME = "auto"

_LOGARITHMIC = ("minor", "s", "seconds")
"""Units whose numbers are often too large for a feature, so that it takes their logarithm."""
_DOC_LENGTH = 70
_TAKEN = frozenset({*BY_NAME, *Features.model_fields, "found", "mcc_risk"})
"""Names that a feature of a field cannot have: of the catalogue, and keys of [features]."""
_MCC_RISK = {
    "expression": "mcc",
    "risk": "learn",
    "reason": 0,
    "doc": "64 * log2 of the odds of fraud at this merchant category, against all; learned",
}


def resolve_names(config: Config, columns: Collection[str], *, labels: bool = True) -> Features:
    """[features] with names for files that have ``columns``; as it is unless names are "auto".

    Of a payment schema: the catalogue's AUTO (or LABEL_FREE), HOST and HOST_ODDS as far as they are
    fed, then the appended fields that those of the host do not read. Of another schema: its fields.
    What the section itself defines comes last. ``labels=False``: for a family that learns without
    labels.
    """
    section = config.features
    if section.names != AUTO_NAME:
        return section
    fed = fed_names(config.data.resolved(config.schema), columns)
    labelled = "label" in fed or bool(config.labels.files)
    notices = labels and config.data.notices != "none" and labelled
    named: list[str] = []
    rest = config.schema.fields
    payment = _is_payment(config.schema)
    if payment:
        hosts = (*HOST, *HOST_ODDS)
        these = (*(AUTO if labels else LABEL_FREE), *hosts)
        named = [name for name in these if _is_fed(select([name])[0], fed, notices)]
        read = {field for name in named if name in hosts for field in BY_NAME[name].fields}
        rest = tuple(f for f in rest[len(PAYMENT.fields) :] if f.name not in read)
    plain: dict[str, dict[str, object]] = {}
    if named and notices and "mcc" in fed:
        plain["mcc_risk"] = _MCC_RISK
    for field in rest:
        if field.unit != "token" and field.name in fed:
            taken = _TAKEN.union(plain, config.schema.names) - ({field.name} - _TAKEN)
            plain |= _of_a_field(field, payment and "amount_minor" in fed, taken)
    # ids follow this order, and in a run's configuration what was found comes after what was given
    define = {**section.define, **{k: v for k, v in plain.items() if k not in section.define}}
    ahead = [*named, *plain]
    names = [*(k for k in ahead if k not in section.define), *section.define]
    return section.model_copy(update={"names": names, "define": define})


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


def _of_a_field(
    field: Field, amounts: bool, taken: Collection[str]
) -> dict[str, dict[str, object]]:
    """Features of a field of the user's own, with names that are not ``taken``; ``amounts``:
    whether transactions have amounts."""
    name = _free(field.name, taken)
    # "or missing": an absent field reads as its number for missing, which may be unusual
    reason = f"unusual or missing: {_words(field)}"
    if field.unit not in _LOGARITHMIC:
        return {name: {"op": "field", "name": field.name, "reason": reason}}
    found: dict[str, dict[str, object]] = {
        name: {"expression": f"log2(field({field.name}))", "reason": reason}
    }
    # where the number for missing is above 0, a missing amount could not be told from a real one
    if amounts and field.unit == "minor" and field.missing <= 0:
        found[_free(f"amount_to_{field.name}", taken)] = _amount_to(field)
    return found


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_field"
    return name


def _amount_to(field: Field) -> dict[str, object]:
    times = f"ratio(amount_minor, field({field.name}), scale=64, otherwise=64)"
    return {
        "expression": f"smaller({times}, 16384)",
        "doc": f"64 * amount / {field.name}, at most 16384; 64 without one",
        "reason": f"unusual amount against: {_words(field)}",
        "neutral": 64,
    }


def _words(field: Field) -> str:
    """What a reason calls a field: its doc, if that is short, or its name."""
    doc = field.doc.strip()
    if doc and doc.isprintable() and len(doc) <= _DOC_LENGTH:
        return doc
    return field.name.replace("_", " ")


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
