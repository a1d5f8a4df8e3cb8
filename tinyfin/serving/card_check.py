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


class CardCheck:
    """Judges the columns of each request.

    A request with many values of a card number's shape is judged alone. A smaller one is filled up
    with the newest ones of requests that were taken: a single value may pass Luhn by chance. What
    was refused does not count.
    """

    def __init__(self) -> None:
        self._taken: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=_JUDGED))

    def require_none(self, columns: Mapping[str, Iterable[object]]) -> None:
        """RefusedError when values of a column are card numbers; else those that have a card
        number's shape are kept, to judge the next small requests."""
        shaped = dict[str, list[str]]()
        for name, values in columns.items():
            words = dict.fromkeys(text for text in map(str, values) if len(text) >= 13)
            own = shaped[name] = [word for word in words if has_card_shape(word)]
            guard = CardGuard("the requests", few=False)
            if not (len(own) >= _ALONE and all(hide_pans(word) != word for word in own)):
                newest = [word for word in self._taken[name] if word not in words]
                filling = newest[len(own) - _JUDGED :] if len(own) < _JUDGED else []
                with suppress(DataError):
                    guard.check_words(filling, name, len(filling))
            try:
                guard.check_words(own, name, len(own))
            except DataError as error:
                raise RefusedError.of(422, name, None, str(error)) from error
        for name, own in shaped.items():
            known = self._taken[name]
            known.extend(word for word in own[-_JUDGED:] if word not in known)
