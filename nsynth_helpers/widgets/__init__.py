"""Widgets for notebooks: players, notes to touch, a training to watch. Nothing imports this package."""

from nsynth_helpers.widgets.notes import ConfusionExplorer, ExtremesGallery, NoteExplorer, NoteMap
from nsynth_helpers.widgets.players import encode_mp3, player, player_table
from nsynth_helpers.widgets.sound import SoundExplorer
from nsynth_helpers.widgets.training import TrainingMonitor
