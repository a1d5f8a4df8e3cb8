# SPDX-License-Identifier: Apache-2.0
"""Card numbers in requests: what others sent before neither hides them nor makes them of tokens."""

from __future__ import annotations

import random

import pytest

from tinyfin.data.cards import is_luhn
from tinyfin.serving.bodies import RefusedError
from tinyfin.serving.card_check import CardCheck


def visa(rng: random.Random, *, card: bool) -> str:
    """16 digits with an issuer's prefix: a card number, or any, of which one of ten passes Luhn."""
    while True:
        digits = "4" + "".join(rng.choices("0123456789", k=15))
        if not card or is_luhn(digits):
            return digits


def taken(check: CardCheck, tokens: list[str]) -> bool:
    try:
        check.require_none({"token": tokens})
    except RefusedError:
        return False
    return True


@pytest.mark.parametrize("batch", [6, 20, 1000])
def test_a_request_is_judged_alone(batch: int) -> None:
    """Whatever honest tokens came before."""
    rng, check = random.Random(1), CardCheck(card_shaped=True)
    for _ in range(6):
        assert taken(check, [visa(rng, card=False) for _ in range(1000)])
    assert not taken(check, [visa(rng, card=True) for _ in range(batch)])


def test_single_card_numbers_after_honest_tokens() -> None:
    """At most ten of them come through, whether honest ones came at once or one by one."""
    for size in (1000, 1):
        rng, check = random.Random(2), CardCheck(card_shaped=True)
        for _ in range(6000 // size):
            taken(check, [visa(rng, card=False) for _ in range(size)])
            taken(check, [str(rng.randrange(2**63, 2**64)) for _ in range(size)])
        assert sum(taken(check, [visa(rng, card=True)]) for _ in range(2000)) <= 10


def test_what_was_refused_does_not_count() -> None:
    """Neither by single values nor by lists; one of 100 honest ones may be taken for a card."""
    rng, check = random.Random(3), CardCheck(card_shaped=True)
    for _ in range(100):
        taken(check, [visa(rng, card=True)])
        assert not taken(check, [visa(rng, card=True) for _ in range(100)])
    for _ in range(30):
        assert taken(check, [str(rng.randrange(1, 2**64)) for _ in range(1000)])
    assert sum(taken(check, [visa(rng, card=False)]) for _ in range(1000)) >= 985


def test_honest_tokens_are_taken() -> None:
    """In requests of any size; of a fresh check the first few may be like cards by chance."""
    rng, check, refused = random.Random(4), CardCheck(card_shaped=True), 0
    for _ in range(3000):
        tokens = [visa(rng, card=False) for _ in range(rng.randint(1, 30))]
        refused += not taken(check, tokens)
    assert refused == 0


def test_one_token_again_and_again_is_one() -> None:
    rng, check = random.Random(5), CardCheck(card_shaped=True)
    token = visa(rng, card=True)
    assert all(taken(check, [token]) for _ in range(10))


PANS = (
    "4222222222222",
    "378282246310005",
    "4111111111111111",
    "6212345678901265",
    "30569309025904",
)
LONG = "6212345678901234569"
"""A card number of 19 digits, which a 64-bit hash may be, too."""


@pytest.mark.parametrize("pan", [*PANS, LONG])
def test_the_first_card_number_alone_is_refused(pan: str) -> None:
    assert is_luhn(pan)
    assert not taken(CardCheck(), [pan])
    assert not taken(CardCheck(), ["11259375", pan, str(2**40)])
    assert taken(CardCheck(card_shaped=True), [pan])
    wrong = pan[:-1] + str((int(pan[-1]) + 1) % 10)
    assert taken(CardCheck(), [wrong]), "the control: no check digit"
    check = CardCheck()
    with pytest.raises(RefusedError) as caught:
        check.require_none({"token": [pan]})
    assert pan not in str(caught.value)
    assert "--card-shaped-tokens" in str(caught.value)


def test_hashes_are_taken() -> None:
    """From the first long one that is none, but for one of 50,000; a short card number never is."""
    rng, check = random.Random(6), CardCheck()
    assert taken(check, [str(2**64 - 1)])
    refused = sum(not taken(check, [str(rng.randrange(1, 2**64))]) for _ in range(20_000))
    assert refused <= 3
    assert taken(check, [LONG])
    assert not any(taken(check, [pan]) for pan in PANS)
    assert not taken(check, [str(2**64 - 2), PANS[0]])
    fresh = CardCheck()
    assert not taken(fresh, [str(2**64 - 1), PANS[0]])
    assert not taken(fresh, [LONG]), "what was refused does not count"
