"""``python -m nsynth_helpers``."""

from nsynth_helpers.cli import main

main()
