"""The rates as a page: a bar for each category and engine (SVG), and the rules behind each misjudgement."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mailbed.scoring.rates import Scores

_COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd")
_BAR, _GAP, _LEFT, _WIDTH = 16, 14, 110, 520
_STYLE = "body{font:15px sans-serif;max-width:60em;margin:2em auto}td,th{padding:.2em .8em;text-align:left}"


def page(found: Sequence[Scores]) -> str:
    """Return the page: HTML with the picture in it, which needs nothing else."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Misjudged mail</title>'
        f"<style>{_STYLE}</style></head><body>\n<h1>Misjudged mail</h1>\n{picture(found)}\n{_table(found)}"
        "</body></html>\n"
    )


def picture(found: Sequence[Scores]) -> str:
    """Return the bars as SVG: per category the misjudged part, one bar for each engine."""
    parts, top = [], 10
    categories = [rate.category for rate in found[0].rates] if found else []
    for row, category in enumerate(categories):
        middle = top + len(found) * _BAR / 2 + 5
        parts.append(f'<text x="0" y="{middle:g}">{escape(category)}</text>')
        for number, scores in enumerate(found):
            rate = scores.rates[row]
            y, width = top + number * _BAR, rate.share * _WIDTH
            colour = _COLOURS[number % len(_COLOURS)]
            said = f"{scores.engine}: {rate.wrong} of {rate.count}"
            parts.append(
                f'<rect x="{_LEFT}" y="{y}" width="{max(width, 1):.1f}" height="{_BAR - 3}" fill="{colour}">'
                f"<title>{escape(said)}</title></rect>"
                f'<text x="{_LEFT + width + 6:.1f}" y="{y + 11}" font-size="12">{rate.share:.1%}</text>'
            )
        top += len(found) * _BAR + _GAP
    for number, scores in enumerate(found):
        colour = _COLOURS[number % len(_COLOURS)]
        y = top + number * 18
        parts.append(f'<rect x="{_LEFT}" y="{y}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{_LEFT + 18}" y="{y + 11}" font-size="13">{escape(scores.engine)}</text>')
    height = top + len(found) * 18 + 6
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 70}" height="{height}" '
        f'role="img" aria-label="Misjudged part by category and engine">{"".join(parts)}</svg>'
    )


def _table(found: Sequence[Scores]) -> str:
    rows = []
    for scores in found:
        for rate in scores.rates:
            causes = ", ".join(f"{escape(cause)} ({times})" for cause, times in rate.causes[:6])
            kind = "false positives" if rate.is_ham else "false negatives"
            rows.append(
                f"<tr><td>{escape(scores.engine)}<td>{escape(rate.category)}<td>{kind}"
                f"<td>{rate.wrong} of {rate.count}<td>{rate.share:.1%}<td>{causes}"
            )
    head = "<tr><th>engine<th>category<th>kind<th>misjudged<th>rate<th>behind them"
    return f"<table>\n{head}\n" + "\n".join(rows) + "\n</table>\n"
