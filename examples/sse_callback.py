"""A callback writes the stream once the handler has returned; afterwards the stream is parked.

    python examples/sse_callback.py
    curl -N 'http://127.0.0.1:3000/progress?job=backup'      # stays open when the job is done
    curl -X POST http://127.0.0.1:3000/announce -d 'lunch'   # reaches all that are still open

A parked stream holds no thread and no task; anyone who kept it may send to it.
"""

import argparse
import threading
import time
from contextlib import suppress

from h3py import H3, H3Event, SSEError, SSEEvent, SSEWriter, StreamContext, serve

app = H3()
parked: set[SSEWriter] = set()
changing = threading.Lock()


@app.get("/progress")
def progress(event: H3Event) -> None:
    job = event.query.get("job", "job")
    event.start_sse()
    event.set_stream_callback(run_job, context=True, user_data=job)


def run_job(context: StreamContext) -> None:
    stream, _, job = context
    for percent in range(0, 101, 20):
        stream.send_event(SSEEvent.json({"job": job, "percent": percent}, event="progress"))
        time.sleep(0.2)
    stream.park()
    with changing:
        parked.add(stream)
    stream.on_close(lambda reason: forget(stream))


def forget(stream: SSEWriter) -> None:
    with changing:
        parked.discard(stream)


@app.post("/announce")
def announce(event: H3Event) -> dict[str, int]:
    with changing:
        streams = list(parked)
    for stream in streams:
        with suppress(SSEError):  # it has ended, or is too far behind
            stream.send_event_nowait(SSEEvent(event.body, event="announcement"))
    return {"streams": len(streams)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A stream written by a callback.")
    parser.add_argument("--backend", choices=("trio", "threads"), default="trio")
    parser.add_argument("--port", type=int, default=3000)
    chosen = parser.parse_args()
    serve(
        app,
        backend=chosen.backend,
        port=chosen.port,
        started=lambda server: print(f"curl -N {server.url}/progress", flush=True),
    )
