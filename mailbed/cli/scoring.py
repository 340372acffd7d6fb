"""`mailbed filter score`: how well the content filter judges, beside SpamAssassin."""

from __future__ import annotations

import json as codec
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailbed.cli import output
from mailbed.cli.options import Json, Out, Seed
from mailbed.errors import UsageError

if TYPE_CHECKING:
    from mailbed.scoring.outcome import Judged
    from mailbed.scoring.rates import Rate, Scores

ENGINES = ("built-in", "spamassassin")
EXAMPLES = (
    "mailbed filter score                       a few minutes; 360 messages, each engine",
    "mailbed filter score --each 20 --engine built-in",
    "mailbed filter score --seed 7 --out score --json",
)
_SCHEMA = "mailbed.score/1"
_NAMED = 5


def score(
    each: Annotated[
        int,
        typer.Option(
            "--each", metavar="N", min=7, help="Messages of each category, for teaching and for judging."
        ),
    ] = 60,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            "--engine",
            metavar="NAME",
            help="Spam engines to try: built-in, spamassassin (default: both).",
            show_default=False,
        ),
    ] = None,
    seed: Seed = 1,
    out: Out = None,
    json: Json = False,
) -> None:
    """Send a labelled corpus through the world and count what its content filter misjudges.

    The corpus follows from the seed: personal, list, newsletter, spam, phishing and malware mail. Its first
    half teaches the engine; the other, from other templates, is sent by users, to mailing lists, by a bulk
    sender and through open relays. Told are the rates by category and the rules behind each misjudgement; the
    directory gets score.html with a picture, score.json with every verdict, and each engine's run.
    """
    engines = tuple(dict.fromkeys(engine or ENGINES))
    for name in engines:
        if name not in ENGINES:
            raise UsageError(f"there is no spam engine {name}; there are {', '.join(ENGINES)}")
    # Imported when needed: other commands need not wait for it.
    from mailbed import rundir
    from mailbed.corpus.generate import corpus
    from mailbed.scoring import picture, rates, trial

    now = datetime.now(UTC)
    directory = _directory(out or rundir.default_base() / f"{now:%Y%m%dT%H%M%SZ}-filter-score-{token_hex(2)}")
    messages = corpus(seed=seed, now=now.timestamp(), each=each)
    judged: dict[str, list[Judged]] = {}
    with output.Progress() as progress:
        for name in engines:
            judged[name] = trial.run(name, messages, seed=seed, out=directory / name, progress=progress.show)
    found = [rates.scores(name, verdicts) for name, verdicts in judged.items()]
    document = {
        "schema": _SCHEMA,
        "seed": seed,
        "each": each,
        "directory": str(directory),
        "engines": [_told(scores) for scores in found],
    }
    verdicts = {name: [asdict(one) for one in found] for name, found in judged.items()}
    (directory / "score.json").write_text(codec.dumps({**document, "verdicts": verdicts}, indent=1) + "\n")
    (directory / "score.html").write_text(picture.page(found), encoding="utf-8")
    if json:
        output.document(document)
        return
    _say(found)
    output.say(f"\nThe picture, and every verdict: {output.near(directory)}/score.html, score.json")


def _directory(path: Path) -> Path:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"{path} is not an empty directory: name another one with --out")
    path.mkdir(parents=True, exist_ok=True)
    return path.resolve()


def _told(scores: Scores) -> dict[str, Any]:
    return {
        "engine": scores.engine,
        "false_positives": round(scores.false_positives, 4),
        "false_negatives": round(scores.false_negatives, 4),
        "categories": [
            {
                "category": rate.category,
                "ham": rate.is_ham,
                "messages": rate.count,
                "misjudged": rate.wrong,
                "causes": [{"cause": cause, "times": times} for cause, times in rate.causes],
            }
            for rate in scores.rates
        ],
    }


def _say(found: Sequence[Scores]) -> None:
    rows = [
        [rate.category, "false positives" if rate.is_ham else "false negatives", *map(_part, row)]
        for row in zip(*(scores.rates for scores in found), strict=True)
        for rate in row[:1]
    ]
    rows.append(["all ham", "false positives", *(f"{scores.false_positives:.1%}" for scores in found)])
    rows.append(["the rest", "false negatives", *(f"{scores.false_negatives:.1%}" for scores in found)])
    output.table(["category", "", *(scores.engine for scores in found)], rows)
    for scores in found:
        for rate in scores.rates:
            if rate.causes:
                said = ", ".join(f"{cause} ({times})" for cause, times in rate.causes[:_NAMED])
                output.say(f"\n{scores.engine}, {rate.category}: {said}")


def _part(rate: Rate) -> str:
    return f"{rate.share:.1%} ({rate.wrong} of {rate.count})"
