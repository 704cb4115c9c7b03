"""``python -m nsynth_helpers``: thin commands over the functions that the notebooks call."""

import os
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nsynth_helpers.settings import MINI, PROJECT_ROOT, InputError, Settings, one_sentence, shown

app = typer.Typer(
    help="Classify the notes of NSynth: data, training, evaluation, report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
# Named here once more, as a test checks: to ask the rooms, help would have to load torch first.
Network = StrEnum("Network", "lstm blstm gru rnn fully_connected convolutional studio")
Split = StrEnum("Split", "train valid test")
Checkpoint = StrEnum("Checkpoint", "last best")
DataOption = Annotated[str | None, typer.Option("--data", help="'mini' or a folder of NSynth splits.")]
UrlOption = Annotated[str | None, typer.Option(envvar="NSYNTH_URL", help="A mirror of the official archives.")]
DeviceOption = Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")]


def main() -> None:
    """Run a command; what cannot be done ends in one sentence and exit code 2, an interrupt with 130."""
    try:
        with one_sentence():
            app()
    except InputError as error:
        sys.exit(_refuse(error, 2))
    except SystemExit as end:
        if end.code == 130:
            # What typer made of Ctrl-C; a training says in the interrupt how far it got.
            interrupt = end.__context__ and end.__context__.__cause__
            sys.exit(_refuse(str(interrupt or "") or "interrupted; run the same command again to go on", 130))
        raise


def _refuse(reason: object, code: int) -> int:
    print(f"nsynth_helpers: {str(reason).rstrip('.')}.", file=sys.stderr)
    return code


def _settings(**options) -> Settings:
    """The environment's settings, with the options of a command above them."""
    given = {name: value for name, value in options.items() if value is not None}
    # A path on the command line is taken from where the user stands; one in a variable from the project's root.
    if given.get("data", MINI) != MINI:
        given["data"] = Path(given["data"]).absolute()
    variables = {f"NSYNTH_{name.upper()}": str(value) for name, value in given.items()}
    return Settings.from_environment({**os.environ, **variables})


def _echo_accuracy(scores: dict) -> None:
    typer.echo(f"accuracy {100 * scores['accuracy']:.3f} % ({scores['correct']} of {scores['notes']})")


@app.command()
def train(
    network: Network,
    data: DataOption = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of training.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and shuffling.")] = None,
    device: DeviceOption = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder.")] = None,
    retrain: Annotated[bool, typer.Option("--retrain", help="Train again although a finished run is there.")] = False,
) -> None:
    """Train a network and test it; an interrupted training goes on where it stopped."""
    from lightning.pytorch.utilities import rank_zero_only

    from nsynth_helpers.data.cache import load_splits
    from nsynth_helpers.training.fit import fit
    from nsynth_helpers.training.runs import RunConfig

    settings = _settings(data=data, epochs=epochs, seed=seed, device=device)
    config = RunConfig.from_settings(network.value, settings, **({} if epochs is None else {"epochs": epochs}))
    run = fit(config, load_splits(settings), settings, out, retrain=retrain)
    if rank_zero_only.rank == 0:  # the first of the processes speaks for all
        typer.echo(f"run {run.path}")
        _echo_accuracy(run.metrics["last"]["test"])


@app.command()
def evaluate(
    split: Annotated[Split, typer.Option(help="Which notes.")] = Split.test,
    run: Annotated[Path | None, typer.Option(help="A run's folder.")] = None,
    checkpoint: Annotated[Checkpoint, typer.Option(help="Which model of the run.")] = Checkpoint.last,
    weights: Annotated[Path | None, typer.Option(help="A safetensors file, instead of a run.")] = None,
    model: Annotated[Network, typer.Option(help="The network that the weights are of.")] = Network.lstm,
    data: DataOption = None,
    device: DeviceOption = None,
    out: Annotated[Path | None, typer.Option(help="Keep the predictions in this folder.")] = None,
) -> None:
    """Classify a split with a trained network, in float32."""
    from nsynth_helpers.data.cache import load_split
    from nsynth_helpers.training.predict import evaluate_network
    from nsynth_helpers.training.runs import Run, RunConfig, load_weights

    if (run is None) == (weights is None):
        raise InputError("evaluate needs a trained network; pass either --run or --weights.")
    settings = _settings(data=data, device=device)
    config = Run(run).config if run else RunConfig(network=model.value)
    trained = Run(run).load_network(checkpoint.value) if run else load_weights(config.build_network(), weights)
    cached = load_split(replace(settings, seconds=config.seconds), split.value)
    _echo_accuracy(evaluate_network(trained, config, cached, settings.device, out))


@app.command()
def prepare(
    data: DataOption = None,
    seconds: Annotated[float | None, typer.Option(help="Seconds of each note that are kept.")] = None,
    workers: Annotated[int | None, typer.Option(help="Decoding threads; 0: one for each core.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave bad notes out and list them.")] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Decode again from the start.")] = False,
) -> None:
    """Decode every split once into the waveform cache."""
    from nsynth_helpers.data.cache import load_split

    settings = _settings(data=data, seconds=seconds, workers=workers, skip_bad=skip_bad or None)
    for split in Split:
        cached = load_split(settings, split.value, rebuild)
        for line in cached.skipped:
            typer.echo(f"left out: {shown(line)}")
        typer.echo(f"{split}: {len(cached.notes)} notes of {cached.seconds:g} s, {len(cached.skipped)} left out")


@app.command()
def download(
    splits: Annotated[list[Split], typer.Argument(help="Which splits.")],
    to: Annotated[Path, typer.Option(help="Folder for the archives.")],
    base_url: UrlOption = None,
) -> None:
    """Fetch official archives and verify their content; an interrupted download goes on where it stopped."""
    from nsynth_helpers.data.download import OFFICIAL_URLS
    from nsynth_helpers.data.download import download as fetch

    for path in fetch([split.value for split in splits], to, [base_url] if base_url else OFFICIAL_URLS):
        typer.echo(f"verified {path}")


@app.command()
def check(data: DataOption = None) -> None:
    """Report on the data before any training: notes by family and split, then what deserves a look."""
    from nsynth_helpers.data.cache import load_splits
    from nsynth_helpers.data.check import check_data

    report = check_data(load_splits(_settings(data=data, skip_bad=True)))
    for line in report.lines():
        typer.echo(shown(line, 500))


@app.command()
def subset(
    out: Annotated[Path, typer.Option(help="The folder to make.")],
    per_family: Annotated[int, typer.Option(help="Train notes of each family.")] = 160,
    data: DataOption = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the choice.")] = None,
) -> None:
    """Cut a small subset of real notes, in the layout of nsynth-mini."""
    from nsynth_helpers.data.subset import cut_subset

    settings = _settings(data=data, seed=seed)
    table = cut_subset(settings.data_folder, per_family, out, settings.seed)
    typer.echo(table.to_string())
    typer.echo(f"{table['notes'].sum()} notes in {out}")


@app.command()
def reproduce(
    weights: Annotated[
        list[Path] | None, typer.Option(help="A .pth or safetensors file, instead of a published one; repeatable.")
    ] = None,
    data: DataOption = None,
    device: DeviceOption = None,
    base_url: UrlOption = None,
) -> None:
    """Fetch the weights of 2018 and nsynth-test, evaluate, and compare with what was published."""
    from nsynth_helpers.claims.reproduce import reproduce as evaluate_published

    mirror = {"base_urls": [base_url]} if base_url else {}
    done, missing = evaluate_published(_settings(data=data, device=device), weights or (), **mirror)
    for reproduction in done:
        typer.echo(reproduction.line)
    for network, reason in missing.items():
        typer.echo(f"missing: the {network.upper()}. {reason}")
    differing = [reproduction.network.upper() for reproduction in done if reproduction.differing_cells]
    if differing and not missing:
        typer.echo(f"not reproduced: {' and '.join(differing)}")
    raise typer.Exit(1 if missing or differing else 0)


@app.command()
def report(
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Also overwrite the committed notebooks, figures and runs.")
    ] = False,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also print each chapter, by an installed Chromium.")] = False,
) -> None:
    """Run every notebook and write the HTML report; prints its path last."""
    from nsynth_helpers.report import make_report

    typer.echo(make_report(_settings(), refresh, pdf))


@app.command()
def ablations(
    real: Annotated[Path | None, typer.Option(help="Real NSynth notes; those of NSYNTH_REAL by default.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings side by side.")] = 1,
    out: Annotated[Path | None, typer.Option(help="The csv file; results/ablations.csv by default.")] = None,
) -> None:
    """Run or resume the grid of ablations; what is done is skipped."""
    from nsynth_helpers.training.grid import run_grid, trials

    settings, grid = _settings(), trials()
    if named := os.environ.get("NSYNTH_REAL"):
        real = real or PROJECT_ROOT / Path(named).expanduser()
    table = run_grid(grid, out or settings.results / "ablations.csv", settings, real and real.absolute(), jobs)
    typer.echo(f"{len(table)} of {len(grid)} trainings are in the table")


@app.command()
def keep(run: Path, path: Path) -> None:
    """Copy a finished run to where it is committed, without each epoch's weights."""
    from nsynth_helpers.training.runs import Run, keep_run

    typer.echo(f"kept {keep_run(Run(run), path).path}")
