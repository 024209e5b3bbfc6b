"""Named events with ids: a browser that comes back goes on where it was.

    python examples/sse_counter.py
    open http://127.0.0.1:3000/

Every tenth event the server ends the stream. The browser reconnects by itself and says in
Last-Event-ID which event it saw last, so no number is missing and none comes twice.
"""

import argparse

from h3py import H3, H3Event, SSEEvent, serve

app = H3()

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Counter</title>
<style>body { font: 1.5rem system-ui; margin: 15vh auto; width: 20rem; text-align: center }
h1 { font-size: 6rem; margin: 0 } p { color: gray }</style>
<h1 id="count">0</h1><p id="began">connecting</p>
<script>
  const stream = new EventSource("/counter");
  stream.addEventListener("count", (event) => (count.textContent = event.data));
  stream.addEventListener("begin", (event) => (began.textContent = event.data));
  stream.onerror = () => (began.textContent = "reconnecting");
</script></html>"""


@app.get("/")
def page(event: H3Event) -> None:
    event.send_html(PAGE)


@app.get("/counter")
def counter(event: H3Event) -> None:
    last = event.headers.get("last-event-id", "")
    number = int(last) if last.isdecimal() else 0
    with event.start_sse() as stream:
        stream.send_event(SSEEvent(f"after event {number}", event="begin", retry=1000))
        while not stream.wait(0.3):  # True as soon as the client has gone
            number += 1
            stream.send_event(SSEEvent(str(number), event="count", id=str(number)))
            if number % 10 == 0:
                return


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Named events with ids.")
    parser.add_argument("--backend", choices=("trio", "threads"), default="trio")
    parser.add_argument("--port", type=int, default=3000)
    chosen = parser.parse_args()
    serve(
        app,
        backend=chosen.backend,
        port=chosen.port,
        started=lambda server: print(f"open {server.url}/", flush=True),
    )
