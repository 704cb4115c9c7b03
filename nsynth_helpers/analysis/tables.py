"""Tables of runs and of the grid of ablations, and numbers as text."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from nsynth_helpers.analysis.outcomes import make_outcomes
from nsynth_helpers.analysis.statistics import (
    FEWEST_VALUES,
    detectable_mean_difference,
    mean_difference,
    wilson_interval,
)
from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.data.metadata import FAMILIES, OFFICIAL_FAMILY_NOTES, OFFICIAL_NOTES
from nsynth_helpers.models import build_network, count_parameters
from nsynth_helpers.settings import Settings
from nsynth_helpers.training.grid import GRID, REAL_DATA
from nsynth_helpers.training.predict import predict, was_tested_on
from nsynth_helpers.training.runs import Run, RunConfig, data_digests

NETWORK_NAMES = {
    "lstm": "LSTM",
    "blstm": "BLSTM",
    "fully_connected": "fully connected net",
    "convolutional": "convolutional net",
}
SHOWN_SETTINGS = {
    "optimizer": "optimizer",
    "learning_rate": "learning rate",
    "batch_size": "batch size",
    "epochs": "epochs",
    "seconds": "seconds of each note",
    "shuffle": "training notes shuffled",
    "seed": "seed",
}
UNKNOWN = "not published"
# What tells one variant of the grid from every other.
ROW = ["data", "group", "variant", "epochs"]
# More than the error of a float left just below a half.
A_HAIR = 1e-9


def percent(share: float) -> str:
    """A share of 1 as text; halves go up, however the float came out; NaN is ``–``.

    Examples
    --------
    >>> percent(0.648)
    '64.8 %'
    """
    return "–" if np.isnan(share) else f"{100 * share + A_HAIR:.1f} %"


def points(difference: float) -> str:
    """A difference of shares as text, with its sign: 0.011 is ``+1.1 points``; NaN is ``–``."""
    return "–" if np.isnan(difference) else f"{100 * difference:+.1f} points".replace("-", "−")


def p_value(value: float) -> str:
    """A p-value as text: ``p = 0.034``, or ``p < 0.001``."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def duration(seconds: float) -> str:
    """Seconds as text in the unit that suits them: ``4.2 s``, ``12 min``, ``13 h 53 min``."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def epochs(number: int) -> str:
    """Epochs as text: ``1 epoch``, ``20 epochs``."""
    return f"{number} epoch{'s' * (number != 1)}"


def epochs_of(runs: Mapping[str, Run]) -> str:
    """How long the runs of one figure were trained: ``20 epochs``, or ``LSTM 1 epoch, BLSTM 20 epochs``."""
    each = {name: epochs(run.config.epochs) for name, run in runs.items()}
    same = len(set(each.values())) == 1
    return next(iter(each.values())) if same else ", ".join(map(" ".join, each.items()))


def interval_text(interval, number: Callable[[float], str] = percent) -> str:
    """A value with its interval: ``64.8 % (63.4 % to 66.3 %)``, of whatever has ``estimate``, ``low`` and ``high``.

    `number` writes each of the three: `percent`, `points`, or a format of your own (``"{:.2f}".format``).
    """
    if np.isnan(interval.low):
        return number(interval.estimate)
    return f"{number(interval.estimate)} ({number(interval.low)} to {number(interval.high)})"


def in_percent(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The table with its columns of shares (all columns by default) as text, with spaces that do not break."""
    shown, shares = table.copy(), list(columns or table.columns)
    shown[shares] = table[shares].map(lambda share: percent(share).replace(" ", "\N{NO-BREAK SPACE}"))
    return shown


def run_outcomes(
    run: Run, splits: Mapping[str, NSynthSplit], settings: Settings, split: str = "test", checkpoint: str = "last"
) -> pd.DataFrame:
    """The outcomes of a finished run on a split at hand, in the order of its notes.

    The predictions that the run keeps are taken if they are of these very notes. A committed run may have met other
    data: then its network classifies the notes at hand.
    """
    notes = run.config.frames(splits[split])
    same = all(run.record["data"].get(name) == digest for name, digest in data_digests(dict(splits)).items())
    if same and (split != "test" or was_tested_on(run, splits["test"])):
        kept = run.predictions(split, checkpoint)
        if kept["note_str"].tolist() == notes.notes["note_str"].tolist():
            return make_outcomes(kept)
    return make_outcomes(predict(run.load_network(checkpoint), notes, settings.device))


def runs_table(runs: Mapping[str, Run], settings: Settings) -> pd.DataFrame:
    """Which runs are analysed: their folders, whether they are committed ones, and what they were trained on."""
    rows = {
        name: {
            "run": run.path.name,
            "kept in": "results (committed)" if run.path.parent == settings.results else "runs (these settings)",
            "trained on": run.record["data"]["name"],
            "epochs": run.config.epochs,
            "best epoch": run.metrics["best"]["epoch"],
            "seed": run.config.seed,
        }
        for name, run in runs.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def hyperparameter_table(configs: Mapping[str, RunConfig], report: Mapping) -> pd.DataFrame:
    """Every hyper-parameter of some configurations, one row each, one column a name, as text.

    The two networks of 2018 come first, by the ``hyperparameters`` of `claims.published.read_report` as `report`.
    """
    facts = report | {"optimizer": report["optimizer"].lower(), "shuffle": False}
    shape = {argument: report[argument] for argument in ("input_size", "hidden_size", "num_layers")}
    known = {f"2018 {NETWORK_NAMES[name]}": (build_network(name, **shape), facts) for name in ("lstm", "blstm")}
    known |= {name: (config.build_network(), vars(config)) for name, config in configs.items()}
    columns = {
        name: _shape_of(network) | {shown: facts.get(setting, UNKNOWN) for setting, shown in SHOWN_SETTINGS.items()}
        for name, (network, facts) in known.items()
    }

    def text(value) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        return f"{value:g}" if isinstance(value, float) else str(value)

    # A network without steps lacks some rows: there, the table says so.
    return pd.DataFrame(columns, dtype=object).map(text, na_action="ignore").fillna("–")


def _shape_of(network) -> dict:
    """The rows of `hyperparameter_table` that a network tells."""
    learned = {"numbers learned": f"{count_parameters(network):,}"}
    if not hasattr(network, "rnn"):
        # The weights of layers have more than one dimension, those of a normalisation one.
        sizes = [weight.shape[0] for weight in network.parameters() if weight.dim() > 1]
        return learned | {"hidden size": ", ".join(map(str, sizes[:-1])), "layers": len(sizes)}
    return learned | {
        "input of a step": network.rnn.input_size,
        "hidden size": network.rnn.hidden_size,
        "layers": network.rnn.num_layers,
        "directions": "two" if network.rnn.bidirectional else "one",
        "read out at": "last step" if network.readout == "last" else network.readout,
    }


def over_seeds(results: pd.DataFrame, data: str, variant: str, epochs: int, column: str = "test_accuracy") -> pd.Series:
    """One value a seed of a row of the grid, indexed by seed in order; empty where nothing is trained yet.

    From what `training.grid.read_results` returns; a 2018 network is trained for several numbers of epochs.
    """
    rows = results[(results["data"] == data) & (results["variant"] == variant) & (results["epochs"] == epochs)]
    if rows.empty:
        return pd.Series(dtype=float)
    return rows.drop_duplicates("seed").set_index("seed")[column].astype(float).dropna().sort_index()


def majority_share(data: str) -> float:
    """The share of the most frequent family among the test notes of data of the grid: what scores without listening."""
    if data == REAL_DATA:
        return max(OFFICIAL_FAMILY_NOTES["test"]) / OFFICIAL_NOTES["test"]
    return 1 / len(FAMILIES)  # nsynth-mini has as many notes of each


def learnt(results: pd.DataFrame, data: str, variant: str, epochs: int) -> bool:
    """Whether a variant beats `majority_share` on test by more than chance among the notes explains.

    Its mean accuracy over seeds does if Wilson's interval of 95 %, for the notes of one test split, lies above it.
    """
    accuracy, notes = (
        over_seeds(results, data, variant, epochs, column).mean() for column in ("test_accuracy", "test_notes")
    )
    return bool(wilson_interval(accuracy * notes, notes).low > majority_share(data))


class VariantComparison(NamedTuple):
    """A variant minus another over their common seeds; see `compare_variants`."""

    estimate: float
    low: float
    high: float
    p_value: float
    seeds: int
    probability_of_improvement: float
    variant_learnt: bool
    baseline_learnt: bool
    detectable: float


def compare_variants(results: pd.DataFrame, data: str, variant: str, baseline: str, epochs: int) -> VariantComparison:
    """Mean difference in test accuracy of two variants of the grid, paired by the seeds that both have.

    From what `training.grid.read_results` returns: ``estimate`` (variant minus baseline) with its paired t interval and
    the test's p-value, the number of common ``seeds``, ``probability_of_improvement`` (share of the seeds in which the
    variant is higher, ties counting half; Bouthillier et al., 2021), whether each has `learnt`, and the true difference
    that so many seeds would have found in four of five grids (``detectable``). Below two common seeds interval and
    p-value are NaN; without one, all is.
    """
    values, others = (over_seeds(results, data, name, epochs) for name in (variant, baseline))
    values, others = values.align(others, join="inner")
    gains = values - others
    low = high = p = detectable = np.nan
    if len(gains) >= FEWEST_VALUES:
        found = mean_difference(values, others, paired=True)
        low, high, p = found.low, found.high, found.p_value
        detectable = detectable_mean_difference(gains.std(), len(gains))
    improved = (gains > 0).mean() + (gains == 0).mean() / 2
    both_learnt = (learnt(results, data, name, epochs) for name in (variant, baseline))
    return VariantComparison(gains.mean(), low, high, p, len(gains), improved, *both_learnt, detectable)


def summarise_seeds(results: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds of each row of the grid, by data and in the grid's order.

    From what `training.grid.read_results` returns: ``data, group, variant, epochs, seeds``, ``mean`` and ``deviation``
    of the test accuracy (NaN deviation for one seed), ``learnt`` (see there), mean ``train_accuracy``, ``parameters``
    and mean ``seconds`` of training.
    """
    columns = [*ROW, "seeds", "mean", "deviation", "learnt", "train_accuracy", "parameters", "seconds"]
    if results.empty:
        return pd.DataFrame(columns=columns)
    table = results.groupby(ROW, as_index=False, sort=False).agg(
        seeds=("seed", "nunique"),
        mean=("test_accuracy", "mean"),
        deviation=("test_accuracy", "std"),
        train_accuracy=("train_accuracy", "mean"),
        parameters=("parameters", "first"),
        seconds=("seconds", "mean"),
    )
    table["learnt"] = [learnt(results, row.data, row.variant, row.epochs) for row in table.itertuples()]
    order = {(variant.group, variant.name): place for place, variant in enumerate(GRID)}
    table["place"] = [order.get((row.group, row.variant), len(order)) for row in table.itertuples()]
    return table.sort_values(["data", "place"], kind="stable", ignore_index=True)[columns]


def differences_from_baseline(results: pd.DataFrame) -> pd.DataFrame:
    """Each row of the grid minus its baseline (`training.grid.Variant.baseline`) with the same data and epochs.

    ``data, group, variant, epochs, baseline``, then the fields of `compare_variants`, in the order of
    `summarise_seeds`. A row of your own is compared with the 2018 LSTM.
    """
    baselines, rows = {(variant.group, variant.name): variant.baseline for variant in GRID}, []
    for row in summarise_seeds(results).itertuples():
        baseline = baselines.get((row.group, row.variant), "2018 LSTM")
        if row.variant != baseline:
            found = compare_variants(results, row.data, row.variant, baseline, row.epochs)
            rows.append((row.data, row.group, row.variant, row.epochs, baseline, *found))
    return pd.DataFrame(rows, columns=[*ROW, "baseline", *VariantComparison._fields])
