"""Notifications: another server posts them to a webhook, signed, and each user gets their own.

python examples/sse_notifications.py
open http://127.0.0.1:3000/, then run the curl line that the example prints.

The sender signs its body with a secret that both know; what is not signed, or was signed long
ago, is refused. What is posted has a type for each kind of notification: docs/notifications.md.
"""

import argparse
import secrets

from h3py import H3, H3Event, HTTPError, Notifications, Principal, Server, SSEManager, serve
from h3py.manager.notification_kinds import decode
from h3py.manager.webhooks import sign, verify_signature

SECRET = secrets.token_hex(32)
SAMPLE = (
    '{"kind": "payment", "payment_id": "p-17", "status": "succeeded", "amount": "12.50",'
    ' "currency": "EUR", "message": "Thank you!"}'
)

app = H3()
manager = SSEManager()
notifications = Notifications(manager)

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Notifications</title>
<style>body { font: 1.1rem/1.6 system-ui; margin: 10vh auto; width: min(36rem, 90vw) }
.error, .critical { color: crimson } .success { color: seagreen }</style>
<h1>Notifications of Ada</h1><div id="feed" role="log">none yet</div>
<script type="module">
  import { connect } from "/api/sse/client.js";
  connect("/api/sse").addHandler("notification:payment", (event) => {
    const { status, amount, currency, message, severity } = event.json();
    const text = `Payment ${status}: ${amount} ${currency}. ${message}`;
    const entry = Object.assign(document.createElement("p"), { className: severity });
    entry.textContent = text;
    document.querySelector("#feed").prepend(entry);
  });
</script></html>"""

# Everybody is Ada here; an application looks at a cookie, or a token.
manager.mount(app, authenticate=lambda event: Principal(user_id="ada", channels=[]))


@app.get("/")
def page(event: H3Event) -> None:
    event.send_html(PAGE)


@app.post("/webhooks/notify/:user")
def notify(event: H3Event) -> dict[str, int]:
    try:
        verify_signature(event.headers.get("x-signature"), event.body, SECRET)
    except ValueError:
        raise HTTPError(401, "not signed") from None
    try:
        notification = decode(event.body)
    except ValueError as error:
        raise HTTPError(400, str(error)) from None
    return {"streams": notifications.send(notification, "user", event.params["user"])}


def started(server: Server) -> None:
    print(f"open {server.url}/", flush=True)
    signature = sign(SAMPLE.encode(), SECRET)
    print(f"curl -H 'X-Signature: {signature}' -d '{SAMPLE}' {server.url}/webhooks/notify/ada")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Notifications by webhook.")
    parser.add_argument("--backend", choices=("trio", "threads"), default="trio")
    parser.add_argument("--port", type=int, default=3000)
    chosen = parser.parse_args()
    serve(app, backend=chosen.backend, port=chosen.port, started=started)
