"""What the demo says fits what its page makes of it."""

from __future__ import annotations

from h3py import EventParser, SSEEvent, format_event
from h3py.demo.texts import ANSWERS, GREETINGS, VERSES


def test_a_verse_is_many_lines_an_empty_one_and_its_author() -> None:
    for verse in VERSES:
        lines, author = verse.split("\n\n")
        assert len(lines.splitlines()) >= 3
        assert "\n" not in author


def test_an_answer_is_one_line() -> None:
    assert len(ANSWERS) == 3
    assert all("\n" not in answer and "  " not in answer for answer in ANSWERS)


def test_all_of_it_survives_the_wire() -> None:
    for text in (*ANSWERS, *VERSES, *GREETINGS):
        (event,) = EventParser().feed(format_event(SSEEvent(text)))
        assert event.data == text


def test_greetings_are_beyond_ascii() -> None:
    assert not any(greeting.isascii() for greeting in GREETINGS)
    assert len({greeting.split()[0] for greeting in GREETINGS}) == len(GREETINGS)
