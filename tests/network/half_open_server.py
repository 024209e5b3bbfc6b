"""The server of ``test_half_open``: says what becomes of each stream, a line each."""

import sys
from collections.abc import Callable

import h3py

app = h3py.H3()
servers: list[h3py.Server] = []


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def told(name: str) -> Callable[[h3py.CloseReason], None]:
    return lambda reason: say(f"{name} ended: {reason.value}")


@app.get("/parked/:name")
def parked(event: h3py.H3Event) -> None:
    start = event.start_sse()
    start.on_close(told(event.params["name"]))
    start.send_event_nowait("hello")


@app.get("/driven/:name")
def driven(event: h3py.H3Event) -> None:
    with event.start_sse() as stream:
        stream.on_close(told(event.params["name"]))
        stream.send_event("hello")
        stream.wait()


@app.get("/open")
def count(event: h3py.H3Event) -> str:
    return str(servers[0].open_streams)


def started(server: h3py.Server) -> None:
    servers.append(server)
    say("serving")


if __name__ == "__main__":
    h3py.serve(
        app,
        backend=sys.argv[1],
        host="0.0.0.0",
        port=3000,
        heartbeat_s=0.2,
        heartbeat_misses=3,
        drain_timeout_s=1.0,
        started=started,
    )
