"""Train the steps from the LSTM of 2018 to the studio network, and see what each brings on instruments held out.

    python tools/studio_steps.py FOLDER [--results FILE]

FOLDER holds what tools/render_studio.py made with ``--hold-out``: ``part-1``, ``part-2``, ``part-3``. Seed s holds out
part 1 + (s - 1) % 3; steps without rendered notes do not draw them. Each training draws 96,000 notes. Resumes.
"""

import argparse
from pathlib import Path

from nsynth_helpers.models import RECIPES, STUDIO
from nsynth_helpers.settings import PROJECT_ROOT, Settings
from nsynth_helpers.training.grid import Trial, Variant, run_grid

SEEDS = 6
DRAWN = {"sampling": "nsynth", "notes_per_epoch": 12_000}
REAL_ALONE = DRAWN | {"rendered_weight": 0.0}
RECIPE = {name: value for name, value in RECIPES["studio"].items() if name not in ("network_arguments", "epochs")}
RENDERED = RECIPE | DRAWN
STILL = {"waveform_augmentation": 0.0}
UNVARIED = STUDIO | {"spectrum_augmentation": 0.0}


def step(name: str, network: str, arguments: dict, changes: dict) -> Variant:
    """One step: a named network, its arguments, and how it is trained."""
    return Variant("96,000 notes", name, network, arguments, changes, epochs=8, seeds={"held out": SEEDS})


STEPS = (
    step("2018 LSTM", "lstm", {}, REAL_ALONE),
    step("log-mel columns", "lstm", {"front_end": "log_mel"}, REAL_ALONE),
    step("stem, GRU, mean and maximum", "studio", UNVARIED | {"dropout": 0.0}, REAL_ALONE),
    step("recipe", "studio", UNVARIED, RECIPE | STILL | REAL_ALONE),
    step("rendered notes", "studio", UNVARIED, RENDERED | STILL),
    step("augmentation", "studio", STUDIO, RENDERED),
)


def main() -> None:
    """Read the command line and train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--results", type=Path, default=PROJECT_ROOT / "results/studio/steps.csv")
    arguments = parser.parse_args()
    for seed in range(1, SEEDS + 1):
        part = f"part-{1 + (seed - 1) % 3}"
        trials = [Trial(variant, part, seed) for variant in STEPS]
        run_grid(trials, arguments.results, Settings(), arguments.folder / part)


if __name__ == "__main__":
    main()
