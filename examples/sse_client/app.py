"""The browser's script: a page with handlers, one connection for all of its tabs, a React hook.

python examples/sse_client/app.py
open http://127.0.0.1:3000/ in two windows: write in one, cut the connection in the other.

The page is `index.html` beside this file; `use_sse.js` is the same as a React hook.
"""

import argparse
import datetime
import threading
from pathlib import Path

from h3py import H3, H3Event, HTTPError, SSEManager, serve

app = H3()
manager = SSEManager(lease_s=45)  # the script pings every three seconds
manager.mount(app, "/api/sse", public_channels=["board", "clock"])
stopping = threading.Event()
app.on_stop(stopping.set)
app.static("/", Path(__file__).parent, index="index.html")


@app.post("/say")
def say(event: H3Event) -> dict[str, int]:
    """Anybody's words, to everybody who follows the board."""
    text = event.read_json(str).strip()
    if not 0 < len(text) <= 200:
        raise HTTPError(400, "1 to 200 characters, please")
    return {"sent": manager.send_to_channel("board", "note", {"text": text})}


@app.post("/cut/:client")
def cut(event: H3Event) -> dict[str, bool]:
    """End a stream as a network would; the script comes back and misses nothing."""
    client = event.params["client"]
    ended = manager.disconnect_client(client)
    manager.send_to_channel("board", "note", {"text": "written while the connection was cut"})
    return {"ended": ended}


@app.background
def tick() -> None:
    """Something that moves."""
    while not stopping.wait(1):
        now = datetime.datetime.now(datetime.UTC)
        told = {"time": now.isoformat(), "connections": len(manager.get_connections())}
        manager.send_to_channel("clock", "tick", told)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The browser's script, with a page and a hook.")
    parser.add_argument("--backend", choices=("trio", "threads"), default="trio")
    parser.add_argument("--port", type=int, default=3000)
    chosen = parser.parse_args()
    serve(
        app,
        backend=chosen.backend,
        port=chosen.port,
        started=lambda server: print(f"open {server.url}/", flush=True),
    )
