"""The one door of the workbook: ``import nsynth_helpers as ns`` loads what a notebook asks for, when it asks."""

import importlib

__version__ = "1.0.0"

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
