"""The smallest stream: a generator, and what it yields is sent.

python examples/sse_minimal.py
curl -N http://127.0.0.1:3000/
"""

import argparse
import time
from collections.abc import Iterator

from h3py import H3, H3Event, serve

app = H3()


@app.get("/")
def hello(event: H3Event) -> Iterator[str]:
    for number in range(1, 11):
        yield f"hello {number}"
        time.sleep(0.5)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A stream from a generator.")
    parser.add_argument("--backend", choices=("trio", "threads"), default="trio")
    parser.add_argument("--port", type=int, default=3000)
    chosen = parser.parse_args()
    serve(
        app,
        backend=chosen.backend,
        port=chosen.port,
        started=lambda server: print(f"curl -N {server.url}/", flush=True),
    )
