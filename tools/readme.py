"""Fill the README's table of results from what is committed, so that no number in it is typed by hand.

Run by ``make notebooks``; the words around the table are the README's own.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from nsynth_helpers.claims import published
from nsynth_helpers.settings import PROJECT_ROOT, InputError, write_text
from nsynth_helpers.training.grid import MINI_DATA, read_results
from nsynth_helpers.training.runs import Run

RESULTS = PROJECT_ROOT / "results"
MARKED = re.compile(r"(?<=<!-- results -->\n).*?(?=<!-- end of results -->)", re.DOTALL)
HEADER = """\
| network | measured on | test accuracy | training |
|---|---|---|---|
"""
REAL_TEST = "nsynth-test, 4,096 real notes"


def results_table() -> str:
    """The published and our own results as a Markdown table, each row with the data it was measured on."""
    recomputed = Run(RESULTS / "lstm-2018").metrics["last"]["test"]
    rows = [published_row("lstm")]
    rows.append(("LSTM of 2018, its weights run again here", REAL_TEST, f"**{exactly(recomputed)}**", "–"))
    rows += [published_row("blstm"), *(own_row(network) for network in published.RECURRENT_NETWORKS)]
    return HEADER + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def published_row(network: str) -> tuple[str, ...]:
    """What the report of 2018 states."""
    hours = published.read_report()[network]["training_time"]
    scores = {"accuracy": published.accuracy(network), "correct": published.correct_notes(network)}
    name, time = f"{network.upper()}, as published in 2018", f"{hours} hours on a CPU, testing included"
    return name, REAL_TEST, exactly(scores), time


def own_row(network: str) -> tuple[str, ...]:
    """Mean and standard deviation over the committed seeds; the run that the notebooks show is one of them."""
    run, table = Run(RESULTS / f"mini-{network}"), read_results(RESULTS / "ablations.csv")
    chosen = (table["data"] == MINI_DATA) & (table["variant"] == f"2018 {network.upper()}")
    table = table[chosen & (table["epochs"] == run.config.epochs) & (table["seed"] != run.config.seed)]
    test, machine = run.metrics["last"]["test"], run.environment
    accuracies = pd.concat([table["test_accuracy"], pd.Series([test["accuracy"]])])
    seeds = ", ".join(map(str, sorted([*table["seed"], run.config.seed])))
    place = machine["gpu"] or f"{machine['torch_threads']} CPU threads"
    return (
        f"{network.upper()}, trained by this workbook with seeds {seeds}",
        f"nsynth-mini, {test['notes']} rendered notes",
        f"{100 * accuracies.mean():.1f} ± {100 * accuracies.std():.1f} %; the run of the notebooks, seed "
        f"{run.config.seed}: {100 * test['accuracy']:.1f} %",
        f"{run.metrics['training_seconds']:.0f} s on {place}",
    )


def exactly(scores: dict) -> str:
    """One accuracy: ``64.844 % (2,656)``."""
    return f"{100 * scores['accuracy']:.3f} % ({scores['correct']:,})"


def refresh(path: Path) -> None:
    """Write the table between the marks."""
    text = path.read_text()
    if not MARKED.search(text):
        raise InputError(f"{path} has no lines '<!-- results -->' and '<!-- end of results -->'; put them back.")
    table = results_table()
    write_text(path, MARKED.sub(lambda _: table, text))


if __name__ == "__main__":
    refresh(PROJECT_ROOT / "README.md")
