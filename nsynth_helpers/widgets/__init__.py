"""Widgets for notebooks: players, notes to touch, a training to watch. Nothing imports this package."""

from nsynth_helpers.widgets.notes import ConfusionExplorer, NoteExplorer
from nsynth_helpers.widgets.players import encode_mp3, player, player_table

__all__ = ["ConfusionExplorer", "NoteExplorer", "encode_mp3", "player", "player_table"]
