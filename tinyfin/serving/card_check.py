# SPDX-License-Identifier: Apache-2.0
"""Card numbers in requests: refused, whatever other requests held."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from contextlib import suppress

from tinyfin.data.cards import CardGuard, has_card_shape, hide_pans
from tinyfin.errors import DataError
from tinyfin.serving.bodies import RefusedError

__all__ = ["CardCheck"]

_JUDGED = 20
"""Values with a card number's prefix and length that are judged together, where there are so many.
By chance one of ten passes Luhn, and more than half of 20 one time in a million."""
_ALONE = 6
"""So many card numbers and nothing else of that shape are one chance in a million."""
_USUAL_DIGITS = 16
"""Of 50,000 64-bit numbers one looks like a card number of so many digits or fewer."""

_LOOKS = (
    "looks like a card number, and tinyfin takes none: send a keyed 64-bit hash of it; where "
    "tokens only look so, start the service with --card-shaped-tokens"
)
_HOLDS = (
    "holds card numbers, and tinyfin takes none: send another name or id, and of a card a keyed "
    "64-bit hash"
)


class CardCheck:
    """Judges the columns of each request.

    One token that looks like a card number is enough to refuse a request, unless tokens are
    ``card_shaped``. One of 17 to 19 digits is taken as soon as another long token was no card
    number: of 64-bit hashes one of 45 looks so.

    Of everything else one value may look so by chance. A request with many values of a card
    number's shape is judged alone, and a smaller one filled up with the newest of those that were
    taken. What was refused does not count.
    """

    def __init__(self, *, card_shaped: bool = False) -> None:
        self._card_shaped, self._hashes = card_shaped, False
        self._taken: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=_JUDGED))

    def require_none(self, columns: Mapping[str, Iterable[object]]) -> None:
        """RefusedError when values of a column are card numbers; else those that have a card
        number's shape are kept, to judge the next small requests."""
        shaped, hashes = dict[str, list[str]](), self._hashes
        for name, values in columns.items():
            words = dict.fromkeys(text for text in map(str, values) if len(text) >= 13)
            own = shaped[name] = [word for word in words if has_card_shape(word)]
            cards = [word for word in own if hide_pans(word) != word]
            if name == "token" and not self._card_shaped:
                hashes = hashes or any(
                    len(word) > _USUAL_DIGITS and word not in cards for word in words
                )
                if any(len(word) <= _USUAL_DIGITS or not hashes for word in cards):
                    raise RefusedError.of(422, name, None, _LOOKS)
            guard = CardGuard("the requests", few=False)
            if not len(cards) == len(own) >= _ALONE:
                newest = [word for word in self._taken[name] if word not in words]
                filling = newest[len(own) - _JUDGED :] if len(own) < _JUDGED else []
                with suppress(DataError):
                    guard.check_words(filling, name, len(filling))
            try:
                guard.check_words(own, name, len(own))
            except DataError as error:
                raise RefusedError.of(422, name, None, _HOLDS) from error
        self._hashes = hashes
        for name, own in shaped.items():
            known = self._taken[name]
            known.extend(word for word in own[-_JUDGED:] if word not in known)
