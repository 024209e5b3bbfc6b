"""Tokens of a language model, as JSON, and a `done` event that ends the answer.

python examples/sse_chat.py
open http://127.0.0.1:3000/, or: curl -N 'http://127.0.0.1:3000/answer?q=hello'
"""

import argparse
import re
import time
from collections.abc import Iterator

from h3py import H3, H3Event, HTTPError, SSEEvent, serve

app = H3()

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Chat</title>
<style>body { font: 1.1rem/1.6 system-ui; margin: 12vh auto; width: min(36rem, 90vw) }
input { font: inherit; width: 75% } #answer { white-space: pre-wrap; min-height: 8em }</style>
<form><input name="q" aria-label="Question" value="What is an event?" autofocus>
<button>Ask</button></form><p id="answer" aria-live="polite"></p>
<script>
  let stream;
  document.querySelector("form").onsubmit = (submitted) => {
    submitted.preventDefault();
    stream?.close();
    answer.textContent = "";
    const query = new URLSearchParams(new FormData(submitted.target));
    stream = new EventSource(`/answer?${query}`);
    stream.addEventListener("token", (event) => answer.append(JSON.parse(event.data).text));
    // Without this the browser would ask the same question again.
    stream.addEventListener("done", () => stream.close());
  };
</script></html>"""


def model(question: str) -> Iterator[str]:
    """Stands for a language model: says something, a token at a time."""
    answer = f"You asked: “{question}” I am ten lines of Python, so I can only say it back. 🙂"
    for token in re.findall(r"\s*\S{1,4}", answer):
        yield token
        time.sleep(0.05)


@app.get("/")
def page(event: H3Event) -> None:
    event.send_html(PAGE)


@app.get("/answer")
def answer(event: H3Event) -> Iterator[SSEEvent]:
    tokens = 0
    for text in model(event.context["question"]):
        tokens += 1
        yield SSEEvent.json({"text": text}, event="token", id=str(tokens))
    yield SSEEvent.json({"tokens": tokens}, event="done")


@app.use("/answer")
def asked(event: H3Event) -> None:
    """What is wrong with a request is said before its stream begins."""
    if not event.query.get("q"):
        raise HTTPError(400, "ask something: /answer?q=...")
    event.context["question"] = event.query["q"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Tokens as JSON events.")
    parser.add_argument("--backend", choices=("trio", "threads"), default="trio")
    parser.add_argument("--port", type=int, default=3000)
    chosen = parser.parse_args()
    serve(
        app,
        backend=chosen.backend,
        port=chosen.port,
        started=lambda server: print(f"open {server.url}/", flush=True),
    )
