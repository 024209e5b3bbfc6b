"""What the demo's streams say. The verses are in the public domain."""

from __future__ import annotations


def _paragraphs(text: str) -> tuple[str, ...]:
    """The paragraphs of a text, each on one line."""
    return tuple(" ".join(part.split()) for part in text.strip().split("\n\n"))


ANSWERS = _paragraphs(
    """
    Server-sent events are plain text over a plain HTTP response that does not end. The server
    writes a few lines, then an empty one, and that is an event. The browser reads them with
    EventSource, which every browser has had for years: it connects, hands each event to your
    code, and when the connection breaks it comes back by itself and says which event it saw
    last. No handshake, no frames, no library on the client. 🎈

    When one side talks and the other listens: tokens of a language model, notifications,
    dashboards, the progress of a job, prices, scores, logs. If the client has something to say,
    it says it with an ordinary request. Take WebSocket when both sides talk all the time, as in
    a game or an editor for two; most pages are not that.

    Press Reconnect while these words come in. The server drops the connection in the middle of
    the sentence, your browser waits a second and asks again, with the id of the last token that
    it saw in a header named Last-Event-ID. The server goes on with the next one. Nothing is
    missing, nothing comes twice, and no code of this page had to do it.
    """
)

VERSES = (
    """\
To see a World in a Grain of Sand
And a Heaven in a Wild Flower,
Hold Infinity in the palm of your hand
And Eternity in an hour.

William Blake""",
    """\
古池や
蛙飛びこむ
水の音

松尾芭蕉""",
    """\
Über allen Gipfeln
Ist Ruh,
In allen Wipfeln
Spürest du
Kaum einen Hauch;

Johann Wolfgang von Goethe""",
    """\
床前明月光
疑是地上霜
舉頭望明月
低頭思故鄉

李白""",
    """\
Hope is the thing with feathers
That perches in the soul,
And sings the tune without the words,
And never stops at all,

Emily Dickinson""",
)
"""The lines of a verse, an empty line, who wrote it."""

GREETINGS = (
    "Hello 👋🏽",
    "こんにちは 🌸",
    "Здравствуйте ❄️",
    "नमस्ते 🪔",
    "שלום 🕊️",
    "Γειά σου 🏺",
    "안녕하세요 🐯",
    "مرحبا 🌙",
    "Olá, família 👩‍👩‍👧‍👦",
)
