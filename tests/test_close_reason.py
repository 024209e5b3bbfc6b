"""Close reasons: the words users see, and the numbers the engine knows them by."""

from __future__ import annotations

from h3py import CloseReason
from h3py.close_reason import CLOSE_REASONS

WORDS = (
    "client_closed", "handler_done", "slow", "timeout", "lease_expired", "max_age", "auth_expired",
    "limit", "kicked", "replaced", "shutdown", "error",
)  # fmt: skip


def test_the_words_and_their_order() -> None:
    """The order is the engine's numbering: new ones go to the end."""
    assert tuple(reason.value for reason in CloseReason) == WORDS
    assert tuple(CloseReason) == CLOSE_REASONS


def test_the_numbers_begin_at_one() -> None:
    assert [reason.code for reason in CloseReason] == list(range(1, len(WORDS) + 1))
    for reason in CloseReason:
        assert CLOSE_REASONS[reason.code - 1] is reason


def test_a_reason_is_its_word() -> None:
    assert CloseReason.SLOW == "slow"
    assert f"{CloseReason.SLOW}" == "slow"
    assert CloseReason("kicked") is CloseReason.KICKED
