"""The published result from nothing: fetch the weights of 2018 and nsynth-test, check both, evaluate, compare."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import torch
from safetensors.torch import load_file

from nsynth_helpers.analysis.outcomes import confusion_matrix, make_outcomes
from nsynth_helpers.claims import published
from nsynth_helpers.data.cache import load_split
from nsynth_helpers.data.download import Download, RetryPolicy, download
from nsynth_helpers.models import build_network
from nsynth_helpers.settings import MINI, PROJECT_ROOT, InputError, Settings, shown
from nsynth_helpers.training.predict import evaluate_network
from nsynth_helpers.training.runs import Run, RunConfig, load_weights, save_weights, weight_shapes

REPOSITORY = "qiaoran-abbate/NSynthClassificationRNNs"
COMMIT = "82919f83c058a2d54d80c7c944ce65bd86fcf1b6"
BASE_URL = f"https://raw.githubusercontent.com/{REPOSITORY}/{COMMIT}/"
FOLDER = PROJECT_ROOT / "build" / "published-2018"
POLICY = RetryPolicy(attempts=4)
REMEDY = f"pass net_model1.pth or net_model2.pth of {REPOSITORY}"
# Files of the report's repository, each with git's name of its content, which pins it.
PUBLISHED_WEIGHTS = {
    "lstm": ("LSTM Results/net_model1.pth", "decdff769180ba2ea5fa279a1e8d15e86c7a2610"),
    "blstm": ("BLSTM Results/net_model2.pth", "a77bbcc860d6cc86d18bfcd8769473e63314ee52"),
}


@dataclass(frozen=True)
class Reproduction:
    """A published network, evaluated again: right notes of all, and the cells of its confusion matrix that differ."""

    network: str
    correct: int
    notes: int
    differing_cells: int

    @property
    def line(self) -> str:
        """The published accuracy beside the computed one."""
        matrix = published.confusion_matrix(self.network).to_numpy()
        published_one = _accuracy(published.correct_notes(self.network), int(matrix.sum()))
        return (
            f"{self.network.upper():<5}  published {published_one}  computed {_accuracy(self.correct, self.notes)}  "
            f"{self.differing_cells} cells of the confusion matrix differ"
        )


def _accuracy(correct: int, notes: int) -> str:
    return f"{100 * correct / notes:.3f} % ({correct} of {notes})"


def published_run(settings: Settings, network: str) -> Run:
    """The run of predictions of a network of 2018: the committed one, or where `reproduce` keeps its own.

    Examples
    --------
    >>> published_run(Settings(), "lstm").path.name
    'lstm-2018'
    """
    committed = Run(settings.results / f"{network}-2018")
    return committed if committed.finished else Run(settings.runs / f"{network}-2018")


def reproduce(
    settings: Settings,
    weights: Sequence[Path] = (),
    folder: Path = FOLDER,
    base_url: str = BASE_URL,
    policy: RetryPolicy = POLICY,
    **data_source,
) -> tuple[list[Reproduction], dict[str, str]]:
    """Evaluate both networks of 2018 on nsynth-test and keep their predictions in ``<runs>/<network>-2018``.

    What is fetched is kept in `folder`: nsynth-test, where the data is nsynth-mini (`data_source` is what `download`
    takes), and the published weights, where none of the files `weights`, ``.pth`` or safetensors, has their shapes.
    Beside the reproductions it is returned why a network could not be checked. An `InputError` is raised if a given
    file is not one of weights of these networks, no network can be checked, or there are no notes.
    """
    given = [_as_safetensors(path, folder) for path in weights]
    files, missing = dict(given), {}
    if len(files) < len(given):
        raise InputError(f"{weights[-1]} holds the same network as another file; pass one of each.")
    for network, (name, blob) in PUBLISHED_WEIGHTS.items():
        if network not in files:
            url = base_url + quote(name)
            try:
                _, files[network] = _as_safetensors(_fetch(url, blob, folder / f"{network}.pth", policy), folder)
            except InputError as error:
                missing[network] = f"{str(error).rstrip('.')}; or fetch {url} by hand and pass it with --weights."
    if not files:
        raise InputError(next(iter(missing.values())))
    data = settings.data
    if data == MINI:
        data = str(folder)
        try:
            download(["test"], folder, **{"policy": policy} | data_source)
        except InputError as error:
            raise InputError(
                f"{str(error).rstrip('.')}; or pass --data with a folder that holds nsynth-test."
            ) from None
    test = load_split(replace(settings, data=data, seconds=1.0), "test")
    return [_evaluate(name, files[name], test, settings) for name in PUBLISHED_WEIGHTS if name in files], missing


def _fetch(url: str, blob: str, path: Path, policy: RetryPolicy) -> Path:
    def prove(part: Path) -> dict:
        content = part.read_bytes()
        found = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        if found != blob:
            raise InputError(f"{part} is not the published file: its git blob is {found}, not {blob}.")
        return {"blob": blob}

    path.parent.mkdir(parents=True, exist_ok=True)
    return Download([url], path, prove, policy).finish()


def _as_safetensors(path: Path, folder: Path) -> tuple[str, Path]:
    """Read weights, and nothing else, from a ``.pth`` or a safetensors file; which network they are, and where kept."""
    try:
        weights = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        shapes = weight_shapes(weights)
    except Exception as error:  # what a hostile or damaged file provokes in torch's unpickler has no common class
        reason = shown(str(error).split("\n")[0], 120)
        raise InputError(f"{path} is no file of weights alone, none of it was used ({reason}); {REMEDY}.") from None
    for name in PUBLISHED_WEIGHTS:
        network, kept = build_network(name), folder / f"{name}.safetensors"
        if weight_shapes(network.state_dict()) == shapes:
            network.load_state_dict(weights)
            save_weights(network, kept)
            return name, kept
    raise InputError(f"{path} holds the weights of neither network of 2018; {REMEDY}.")


def _evaluate(network: str, weights: Path, test, settings: Settings) -> Reproduction:
    config, out = RunConfig(network=network), settings.runs / f"{network}-2018"
    trained = load_weights(config.build_network(), weights)
    scores = evaluate_network(trained, config, test, settings.device, out)
    ours = confusion_matrix(make_outcomes(Run(out).predictions("test"))).to_numpy()
    differing = int(np.count_nonzero(ours != published.confusion_matrix(network).to_numpy()))
    return Reproduction(network, scores["correct"], scores["notes"], differing)
