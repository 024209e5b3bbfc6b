"""Channels, users, presence and replay: one manager decides who gets what.

python examples/sse_manager.py
open http://127.0.0.1:3000/?ada in one window and http://127.0.0.1:3000/?bob in another, or:

curl -N -H 'Authorization: Bearer ada' 'http://127.0.0.1:3000/api/sse?channels=news'
curl -H 'Authorization: Bearer bob' http://127.0.0.1:3000/api/sse/message --json \
    '{"target": "user", "target_id": "ada", "event": "note", "data": "only for you"}'

Stop curl and begin it again with -H 'Last-Event-ID: ...': what was missed is replayed.
"""

import argparse

from h3py import H3, H3Event, Principal, SSEManager, serve

app = H3()
manager = SSEManager()

USERS = {"ada", "bob"}  # each one's token is their name: do this better

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Manager</title>
<style>body { font: 1.1rem/1.6 system-ui; margin: 10vh auto; width: min(36rem, 90vw) }
input { font: inherit; width: 75% } #events { padding: 0; list-style: none; height: 16em }</style>
<p id="here">here: you</p><ul id="events" aria-live="polite"></ul>
<form><input name="text" aria-label="News" value="Hello"> <button>Publish</button></form>
<script type="module">
  import { connect } from "/api/sse/client.js";
  const token = location.search.slice(1) || "ada";
  const sse = connect("/api/sse", { channels: ["news"], token });
  const show = (textContent) => document.querySelector("#events").append(
    Object.assign(document.createElement("li"), { textContent }));
  sse.addHandler("headline", (event) => show(`${event.json().by}: ${event.json().text}`));
  sse.addHandler("note", (event) => show(`for you: ${event.data}`));
  sse.addHandler("presence", (event) => (
    document.querySelector("#here").textContent = `here: ${event.json().online.join(", ")}`));
  document.querySelector("form").onsubmit = (submitted) => {
    submitted.preventDefault();
    const data = { by: token, text: submitted.target.text.value };
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
    const message = { target: "channel", target_id: "news", event: "headline", data };
    fetch("/api/sse/message", { method: "POST", headers, body: JSON.stringify(message) });
  };
</script></html>"""


def authenticate(event: H3Event) -> Principal | None:
    token = event.headers.get("authorization", "").removeprefix("Bearer ")
    if token not in USERS:
        return None
    return Principal(user_id=token, name=token, channels=["news"], may_publish=True)


manager.mount(app, authenticate=authenticate)


@app.get("/")
def page(event: H3Event) -> None:
    event.send_html(PAGE)


@manager.on_user_online
@manager.on_user_offline
def presence(user: str) -> None:
    online = sorted(user for user in USERS if manager.is_user_online(user))
    manager.broadcast("presence", {"online": online}, key="presence")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Who gets what.")
    parser.add_argument("--backend", choices=("trio", "threads"), default="trio")
    parser.add_argument("--port", type=int, default=3000)
    chosen = parser.parse_args()
    serve(
        app,
        backend=chosen.backend,
        port=chosen.port,
        started=lambda server: print(f"open {server.url}/?ada", flush=True),
    )
