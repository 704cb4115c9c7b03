"""Fill the README's table of results from what is committed, and its links from the repository's address.

No number of the table is typed by hand, and the address stands in ``pyproject.toml`` alone. Run by ``make notebooks``;
the words around what is filled in are the README's own.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pandas as pd

from nsynth_helpers.claims import published
from nsynth_helpers.settings import PROJECT_ROOT, InputError, write_text
from nsynth_helpers.training.grid import MINI_DATA, read_results
from nsynth_helpers.training.runs import Run

RESULTS = PROJECT_ROOT / "results"
NAMES = ("results", "links")
MARKED = {name: re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)", re.DOTALL) for name in NAMES}
ADDRESS = re.compile(r"https://github\.com/([\w.-]+)/([\w.-]+)")
FIRST_NOTEBOOK = "notebooks/01_data_exploration.ipynb"
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


def links(project: Path = PROJECT_ROOT / "pyproject.toml") -> str:
    """Where the notebooks run without an installation, and what Colab needs first; no link before there is an owner."""
    address = tomllib.loads(project.read_text())["project"]["urls"]["Repository"]
    found = ADDRESS.fullmatch(address)
    if not found:
        raise InputError(f"The Repository in {project} is {address}; give it as https://github.com/OWNER/NAME.")
    owner, name = found.groups()
    colab = f"https://colab.research.google.com/github/{owner}/{name}/blob/main/{FIRST_NOTEBOOK}"
    binder = f"https://mybinder.org/v2/gh/{owner}/{name}/HEAD?labpath={FIRST_NOTEBOOK}"
    places = f"Open notebook 01 in [Colab]({colab}) or [Binder]({binder})."
    if owner == "OWNER":
        places = (
            "The links to Colab and Binder will stand here, and work, once this repository is public: replace `OWNER` "
            "in the\n`Repository` of [pyproject.toml](pyproject.toml) and run `.venv/bin/python tools/readme.py`."
        )
    return f"""\
{places}

Binder installs the project from [environment.yml](environment.yml). Colab opens a notebook alone; run this in a new
first cell of it:

```
!git clone --depth 1 {address} && pip install --quiet --editable {name}
%cd {name}
```
"""


def refresh(path: Path) -> None:
    """Write table and links between their marks."""
    text = path.read_text(encoding="utf-8")
    for (name, marked), content in zip(MARKED.items(), (results_table(), links()), strict=True):
        if not marked.search(text):
            raise InputError(f"{path} has no lines '<!-- {name} -->' and '<!-- end of {name} -->'; put them back.")
        text = marked.sub(lambda _, content=content: content, text)
    write_text(path, text)


if __name__ == "__main__":
    refresh(PROJECT_ROOT / "README.md")
