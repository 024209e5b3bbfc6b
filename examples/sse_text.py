"""Text as it is: many lines in one event, in any script.

    python examples/sse_text.py
    curl -N http://127.0.0.1:3000/

Each line of the data becomes a `data:` line; the client joins them again with line feeds.
"""

import argparse
from collections.abc import Iterator

from h3py import H3, H3Event, SSEEvent, serve

app = H3()

TEXTS = (
    """To see a World in a Grain of Sand
And a Heaven in a Wild Flower,
Hold Infinity in the palm of your hand
And Eternity in an hour.""",
    "古池や\n蛙飛びこむ\n水の音",
    "  leading spaces, a tab\tand an empty line\n\nare kept",
    "שלום, Здравствуйте, 안녕하세요, 👩‍👩‍👧‍👦",
    "U+2028 is no line end here: \u2028 still the same line",
)


@app.get("/")
def texts(event: H3Event) -> Iterator[SSEEvent]:
    for number, text in enumerate(TEXTS, 1):
        yield SSEEvent(text, event="text", id=str(number))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Text of many lines and scripts.")
    parser.add_argument("--backend", choices=("trio", "threads"), default="trio")
    parser.add_argument("--port", type=int, default=3000)
    chosen = parser.parse_args()
    serve(
        app,
        backend=chosen.backend,
        port=chosen.port,
        started=lambda server: print(f"curl -N {server.url}/", flush=True),
    )
