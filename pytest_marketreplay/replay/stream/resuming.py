"""A client that connects again after a fault has cut its connection: what it has to send, and what it is told again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from pytest_marketreplay.replay.stream.messages import is_acknowledgement
from pytest_marketreplay.replay.stream.recorded import Resume, Sent


def sent_again(sends: Sequence[Sent], resume: Resume) -> tuple[list[Sent], list[Sent]]:
    """Return the messages that frames wait for, and those that a client may send again, or not.

    Subscriptions that were made before the cut are waited for; where one of them was undone, or other things were sent
    (orders, requests), nobody knows what the client repeats: then the first subscription is enough.
    """
    before = [sent for sent in sends if sent.position < resume.position]
    after = [sent for sent in sends if sent.position >= resume.position]
    subscriptions = [sent for sent in before if _is_subscription(sent)]
    required = subscriptions or before
    if any("unsubscri" in sent.message.text.lower() for sent in before):
        required = required[:1]
    welcome = [sent for sent in before if sent not in required]
    if resume.is_again:  # all of it was sent in the first round
        return required, [*welcome, *after]
    return [*required, *after], welcome


def answers_again(data: bytes, ids: frozenset[str], unsent: Iterable[Sent]) -> bool:
    """Tell whether a frame from before the cut comes again: a greeting, or the answer to what was sent again."""
    if not is_acknowledgement(data, ids):
        return False
    raws = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    return not any(
        name in raws and bytes(raws[name]) == number for sent in unsent for name, number in sent.message.ids.items()
    )


def _is_subscription(sent: Sent) -> bool:
    text = sent.message.text.lower()
    return "subscri" in text and "unsubscri" not in text
