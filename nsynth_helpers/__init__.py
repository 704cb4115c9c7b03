"""The one door of the workbook: ``import nsynth_helpers as ns`` loads what a notebook asks for, when it asks."""

import importlib
import os

__version__ = "1.0.0"

# OpenMP's threads wait for one another by spinning, at their worst for ever beside other work: a short while is as fast
# on an idle machine. Read when torch is loaded; a user's own variables win.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # GNU's OpenMP: turns of its loop
    os.environ.setdefault("KMP_BLOCKTIME", "1")  # that of LLVM and Intel: milliseconds

_HOMES = {
    "FAMILIES": "data.metadata",
    "InputError": "settings",
    "RunConfig": "training.runs",
    "Settings": "settings",
    "find_run": "training.fit",
    "fit": "training.fit",
    "load_splits": "data.cache",
}
_ROOMS = ("analysis", "claims", "plots", "widgets")
__all__ = [*_HOMES, *_ROOMS]


def __getattr__(name: str):
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
