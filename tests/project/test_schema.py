# SPDX-License-Identifier: Apache-2.0
"""The schema: record layout, append-only, and its rules."""

from __future__ import annotations

import struct
import tomllib

import pytest

from tinyfin.errors import ConfigError
from tinyfin.schema import PAYMENT, Field, Schema, record_offsets, record_size, schema_from_toml


def test_payment_layout_is_frozen() -> None:
    # These numbers are in every pack that was ever released: a change here breaks them all.
    offsets = dict(zip(PAYMENT.names, record_offsets(PAYMENT), strict=True))
    assert offsets == {
        "amount_minor": 8,
        "token": 16,
        "entry_mode": 24,
        "transaction_type": 28,
        "mcc": 32,
        "currency": 36,
        "cvm": 40,
        "tvr": 48,
        "atc": 56,
        "stan": 60,
        "floor_limit_minor": 64,
        "offline": 72,
        "queued_minor": 80,
        "link_downs": 88,
        "boots": 92,
        "tamper_flags": 96,
        "chip_failures": 100,
        "bin_hash": 104,
        "approval_hash": 108,
        "operator_hash": 112,
        "expiry_hash": 116,
    }
    assert record_size(PAYMENT) == 120


def test_layout_is_what_a_c_compiler_does() -> None:
    codes = {"i32": "i", "i64": "q", "u64": "Q", "enum": "i"}
    form = "@II" + "".join(codes[field.type] for field in PAYMENT.fields) + "0q"
    assert struct.calcsize(form) == record_size(PAYMENT)


def test_appending_moves_nothing() -> None:
    longer = PAYMENT.extended([Field("voltage_mv", "i32"), Field("energy", "i64")])
    assert record_offsets(longer)[: len(PAYMENT.fields)] == record_offsets(PAYMENT)


def test_unknown_field_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'amount_minor'"):
        PAYMENT.index("amount_minro")


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ((), "1 to 32"),
        (tuple(Field(f"f{i}", "i32") for i in range(33)), "1 to 32"),
        ((Field("a", "i32"), Field("a", "i32")), "twice"),
        ((Field("present", "i32"),), "reserved"),
        ((Field("int", "i32"),), "reserved"),
        ((Field("Amount", "i32"),), "C name"),
        ((Field("a", "f32"),), "i32, i64, u64, enum"),
        ((Field("a", "enum"),), "'values'"),
        ((Field("a", "i32", 0, ("x",)),), "'values'"),
        ((Field("a", "i32", 2**31),), "missing"),
        ((Field("a", "u64", -1),), "missing"),
        ((Field("a", "enum", 2, ("x", "y")),), "missing"),
    ],
)
def test_rules(fields: tuple[Field, ...], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        Schema("kind", fields)


def test_own_events_from_toml() -> None:
    text = (
        'name = "health"\n'
        '[[fields]]\nname = "supply_mv"\ntype = "i32"\nunit = "mV"\n'
        '[[fields]]\nname = "state"\ntype = "enum"\nvalues = ["ok", "sick"]\n'
    )
    schema = schema_from_toml(tomllib.loads(text))
    assert schema.name == "health"
    assert schema.field("supply_mv") == Field("supply_mv", "i32", unit="mV")
    assert schema.field("state").missing == -1


def test_extending_the_payment_schema() -> None:
    schema = schema_from_toml({"extends": "payment", "fields": [{"name": "tip", "type": "i64"}]})
    assert schema.names == (*PAYMENT.names, "tip")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"fields": [{"name": "a", "type": "i32"}]}, "'name' must be a string"),
        ({"name": "k", "fields": [{"nmae": "a", "type": "i32"}]}, "did you mean 'name'"),
        ({"name": "k", "fields": [{"name": "a"}]}, "'type' is missing"),
        ({"name": "k", "fields": [{"name": "a", "type": "i32", "missing": "0"}]}, "type int"),
        ({"name": "k", "fields": {}}, "list of tables"),
        ({"extends": "cash", "fields": []}, "payment"),
    ],
)
def test_toml_errors(table: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        schema_from_toml(table)
