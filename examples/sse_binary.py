"""Binary data: a stream is text, so bytes travel as base64, a third longer than they are.

python examples/sse_binary.py
open http://127.0.0.1:3000/: the page decodes frames of 64 x 64 grey pixels and draws them.
"""

import argparse
import math

from h3py import H3, H3Event, SSEEvent, serve

app = H3()
SIZE = 64

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Binary</title>
<style>body { margin: 10vh auto; width: 20rem; font: 1rem system-ui; text-align: center }
canvas { width: 20rem; height: 20rem; image-rendering: pixelated; border-radius: 1rem }</style>
<canvas width="64" height="64"></canvas><p id="size"></p>
<script>
  const canvas = document.querySelector("canvas").getContext("2d");
  const image = canvas.createImageData(64, 64);
  new EventSource("/frames").addEventListener("frame", (event) => {
    const grey = Uint8Array.from(atob(event.data), (letter) => letter.charCodeAt(0));
    grey.forEach((value, pixel) => image.data.set([value, value, 255 - value, 255], pixel * 4));
    canvas.putImageData(image, 0, 0);
    size.textContent = `${grey.length} bytes, ${event.data.length} as base64`;
  });
</script></html>"""


def frame(number: int) -> bytes:
    """Two waves that cross, as grey pixels, row by row."""
    across = [math.sin(x / 7 + number / 6) for x in range(SIZE)]
    down = [math.cos(y / 9 - number / 8) for y in range(SIZE)]
    return bytes(int(127.5 + 63.7 * (wave + other)) for other in down for wave in across)


@app.get("/")
def page(event: H3Event) -> None:
    event.send_html(PAGE)


@app.get("/frames")
def frames(event: H3Event) -> None:
    with event.start_sse() as stream:
        number = 0
        while not stream.wait(0.05):
            stream.send_event(SSEEvent.binary(frame(number), event="frame", id=str(number)))
            number += 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Binary frames as base64.")
    parser.add_argument("--backend", choices=("trio", "threads"), default="trio")
    parser.add_argument("--port", type=int, default=3000)
    chosen = parser.parse_args()
    serve(
        app,
        backend=chosen.backend,
        port=chosen.port,
        started=lambda server: print(f"open {server.url}/", flush=True),
    )
