"""The README's table of results, written from the committed runs so that no number in it is typed by hand."""

from __future__ import annotations

import re
from pathlib import Path

from nsynth_helpers.analysis.outcomes import make_outcomes
from nsynth_helpers.claims import published
from nsynth_helpers.claims.sentences import percent
from nsynth_helpers.data.cache import load_split
from nsynth_helpers.data.metadata import seen_in
from nsynth_helpers.settings import InputError, Settings, write_text
from nsynth_helpers.training.runs import Run

MARKED = re.compile(r"(?<=<!-- results -->\n).*?(?=<!-- end of results -->)", re.DOTALL)
HEADER = (
    "| network | measured on | test accuracy | correct | training |\n"
    "|---|---|---|---|---|\n"
)  # fmt: skip
REAL_TEST = "nsynth-test, 4,096 real notes"


def results_table(settings: Settings) -> str:
    """The published and our own results as a Markdown table, each row with the data it was measured on.

    Parameters
    ----------
    settings : Settings
        Names the folder of committed runs; the data must be nsynth-mini, on which they were made.

    Returns
    -------
    str
        The table, and a sentence on seen and unseen instruments.
    """
    rows = [_published_row("lstm"), _recomputed_row(settings), _published_row("blstm")]
    own = {network: Run(settings.results / f"mini-{network}") for network in published.RECURRENT_NETWORKS}
    rows += [_own_row(network, run) for network, run in own.items()]
    return HEADER + "".join(f"| {' | '.join(row)} |\n" for row in rows) + "\n" + _seen_sentence(own, settings) + "\n"


def refresh(path: Path, settings: Settings) -> None:
    """Write the table between the marks in the README.

    Raises
    ------
    InputError
        If the README has lost its marks.
    """
    text = path.read_text()
    if not MARKED.search(text):
        raise InputError(f"{path} has no lines '<!-- results -->' and '<!-- end of results -->'; put them back.")
    table = results_table(settings)
    write_text(path, MARKED.sub(lambda _: table, text))


def _published_row(network: str) -> tuple[str, ...]:
    hours = published.read_report()[network]["training_time"]
    correct = published.correct_notes(network)
    accuracy = f"{100 * published.accuracy(network):.3f} %"
    return (
        f"{network.upper()}, as published in 2018",
        REAL_TEST,
        accuracy,
        f"{correct:,}",
        f"{hours} hours on a CPU, testing included",
    )


def _recomputed_row(settings: Settings) -> tuple[str, ...]:
    test = Run(settings.results / "lstm-2018").metrics["last"]["test"]
    accuracy = f"**{100 * test['accuracy']:.3f} %**"
    return "LSTM of 2018, its weights run again here", REAL_TEST, accuracy, f"{test['correct']:,}", "–"


def _own_row(network: str, run: Run) -> tuple[str, ...]:
    test, machine = run.metrics["last"]["test"], run.environment
    place = machine["gpu"] or f"{machine['torch_threads']} CPU threads"
    return (
        f"{network.upper()}, trained by this workbook",
        f"nsynth-mini, {test['notes']} rendered notes",
        f"{100 * test['accuracy']:.2f} %",
        f"{test['correct']:,}",
        f"{run.metrics['training_seconds']:.0f} s on {place}",
    )


def _seen_sentence(runs: dict[str, Run], settings: Settings) -> str:
    train = load_split(settings, "train").notes
    parts = []
    for network, run in runs.items():
        outcomes = make_outcomes(run.predictions("test"))
        seen = seen_in(outcomes["instrument"], train)
        shares = [percent(outcomes.loc[which, "correct"].mean()) for which in (seen, ~seen)]
        parts.append(f"the {network.upper()} gets {shares[0]} and {shares[1]} right")
    return (
        "On nsynth-mini half of the test notes come from instruments that were trained on, and half do not: "
        f"{', '.join(parts)}. **nsynth-mini is for trying things out; its numbers say nothing "
        "about NSynth.**"
    )
