"""Bar charts as SVG, written by hand: a handful of rectangles needs no library.

Legible on light and dark pages: the colours are mid-tones and the text takes the
page's own colour where the viewer tells it.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

WIDTH, LABEL, VALUE = 720, 150, 130
ROW, BAR, TOP = 34, 20, 58
STYLE = (
    "text{font:14px system-ui,sans-serif;fill:#24292f}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}}"
)
OURS_FILL, OTHERS_FILL, RANGE = "#2f7fd1", "#8a8f98", "#d1632f"


@dataclass(frozen=True)
class Bar:
    """One contender: the median, and the range that its rounds spanned."""

    label: str
    value: float
    low: float
    high: float
    ours: bool


def bars(title: str, unit: str, items: list[Bar], digits: int) -> str:
    """An SVG document with one horizontal bar for each item."""
    height = TOP + ROW * len(items) + 10
    largest = max(item.high for item in items) or 1.0
    room = WIDTH - LABEL - VALUE

    def x(value: float) -> float:
        return round(LABEL + room * value / largest, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<text x="8" y="24" style="font-size:16px;font-weight:600">{escape(title)}</text>',
        f'<text x="8" y="44">{escape(unit)}; the line spans the rounds</text>',
    ]
    for row, item in enumerate(items):
        y = TOP + ROW * row
        middle = y + BAR / 2
        fill = OURS_FILL if item.ours else OTHERS_FILL
        length = max(1.0, x(item.value) - LABEL)
        span = f"M{x(item.low)} {middle}H{x(item.high)}"
        parts += [
            f'<text x="{LABEL - 8}" y="{middle + 5}" text-anchor="end">{escape(item.label)}</text>',
            f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{fill}"/>',
            f'<path d="{span}" stroke="{RANGE}" stroke-width="2"/>',
            f'<text x="{x(item.high) + 8}" y="{middle + 5}">{item.value:,.{digits}f}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
