"""Until claims are rebuilt: names that moved to `analysis.tables`."""

from nsynth_helpers.analysis.tables import NETWORK_NAMES, run_outcomes

__all__ = ["NETWORK_NAMES", "run_outcomes"]
