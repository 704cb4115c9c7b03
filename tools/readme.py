"""Fill the tables of README and ``docs/reproduction.md`` from what is committed, and the links from the address.

No number of the tables is typed by hand, and the address stands in ``pyproject.toml`` alone. Run by ``make notebooks``;
the words around what is filled in are the pages' own.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from nsynth_helpers.analysis import percent
from nsynth_helpers.claims import published, verdict_table, ways_by_claim
from nsynth_helpers.claims.measures import Evidence
from nsynth_helpers.settings import PROJECT_ROOT, InputError, write_text
from nsynth_helpers.training.grid import DATA_TITLES, GRID, MINI_DATA, MINOR_EPOCHS, read_results
from nsynth_helpers.training.runs import Run

RESULTS = PROJECT_ROOT / "results"
ADDRESS = re.compile(r"https://github\.com/([\w.-]+)/([\w.-]+)")
FIRST_NOTEBOOK = "notebooks/01_data_exploration.ipynb"
REAL_TEST = "nsynth-test, 4,096 real notes"


def results_table() -> str:
    """The published and our own results as a Markdown table, each row with the data it was measured on."""
    recomputed = Run(RESULTS / "lstm-2018").metrics["last"]["test"]
    rows = [published_row("lstm")]
    rows.append(("LSTM of 2018, its weights run again here", REAL_TEST, f"**{exactly(recomputed)}**", "–"))
    rows += [published_row("blstm"), *(own_row(network) for network in published.RECURRENT_NETWORKS)]
    return markdown("network, measured on, test accuracy, training", rows)


def markdown(columns: str, rows: Iterable[tuple]) -> str:
    """A Markdown table; its columns' names are parted by commas."""
    names = columns.split(", ")
    lines = [f"| {' | '.join(map(str, row))} |\n" for row in (names, *rows)]
    return lines[0] + "|---" * len(names) + "|\n" + "".join(lines[1:])


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


def claims_table() -> str:
    """How each of the report's claims was tested, and the verdict."""
    pairs = pd.read_csv(RESULTS / "bench" / "epoch_pairs.csv")
    ways = ways_by_claim(verdict_table(Evidence(read_results(RESULTS / "ablations.csv"), epoch_pairs=pairs)))
    return markdown(", ".join(ways.columns), ways.fillna("–").itertuples(index=False))


def runs_table() -> str:
    """How many trainings each group of the grid has, and how long they took."""
    table = read_results(RESULTS / "ablations.csv")
    table["group"] = table["group"].mask(table["epochs"] == MINOR_EPOCHS, "minor")
    rows = []
    for (group, data, epochs), trained in table.groupby(["group", "data", "epochs"], sort=False):
        seeds = trained["variant"].value_counts()
        fewest_and_most = " to ".join(map(str, sorted({seeds.min(), seeds.max()})))
        row = (group, DATA_TITLES[data], epochs, len(seeds), fewest_and_most, len(trained))
        rows.append((*row, f"{trained['seconds'].sum() / 3600:.1f}"))
    return markdown("group, data, epochs, variants, seeds of a variant, trainings, hours", rows)


def variants_table() -> str:
    """Seeds, accuracies, parameters and time of each variant that has the report's epochs, but for the search's."""
    table = read_results(RESULTS / "ablations.csv")
    table = table[(table["epochs"] != MINOR_EPOCHS) & (table["group"] != "rate")]
    rows = []
    for (data, variant), trained in table.groupby(["data", "variant"], sort=False):
        test, means = trained["test_accuracy"], trained.mean(numeric_only=True)
        last = f"{100 * test.mean():.1f} ± {100 * test.std():.1f} %"
        others = (percent(means["best_test_accuracy"]), percent(means["valid_accuracy"]))
        size = (f"{means['parameters']:,.0f}", f"{trained['seconds'].median():.0f}")
        rows.append((DATA_TITLES[data], variant, len(test), last, *others, *size))
    rows.sort(key=lambda row: row[0] != MINI_DATA)
    return markdown("data, variant, seeds, test, test of the best epoch, valid, parameters, seconds", rows)


def rates_table() -> str:
    """Valid accuracy of each learning rate that was searched, over the search's two seeds."""
    table = read_results(RESULTS / "ablations.csv")
    table = table[(table["data"] == MINI_DATA) & (table["seed"] <= 2)]
    valid = table.groupby(["variant", "epochs"])["valid_accuracy"].mean()
    found: dict[tuple, dict] = {}
    for variant in GRID:
        unchanged = variant.group == "core" and not (variant.network_arguments or variant.changes)
        if variant.group == "rate" or unchanged:
            config = variant.config(1)
            rates = found.setdefault((config.network.upper(), config.optimizer), {})
            rates[config.learning_rate] = valid.get((variant.name, variant.epochs), float("nan"))
    rows = []
    for (network, optimizer), rates in found.items():
        searched = "; ".join(f"{rate:g}: {percent(rates[rate])}" for rate in sorted(rates))
        rows.append((network, optimizer, searched, f"{max(rates, key=rates.get):g}"))
    return markdown("network, optimizer, rate: valid accuracy, best", rows)


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


PAGES = {
    "README.md": {"results": results_table, "links": links},
    "docs/reproduction.md": {
        "claims": claims_table,
        "runs": runs_table,
        "variants": variants_table,
        "rates": rates_table,
    },
}


def refresh(name: str, path: Path) -> None:
    """Write a page's tables and links between their marks, in the file at `path`."""
    text = path.read_text(encoding="utf-8")
    for block, content in PAGES[name].items():
        marked = re.compile(rf"(?<=<!-- {block} -->\n).*?(?=<!-- end of {block} -->)", re.DOTALL)
        found = marked.search(text)
        if not found:
            raise InputError(f"{path} has no lines '<!-- {block} -->' and '<!-- end of {block} -->'; put them back.")
        text = text[: found.start()] + content() + text[found.end() :]
    write_text(path, text)


if __name__ == "__main__":
    for page in PAGES:
        refresh(page, PROJECT_ROOT / page)
