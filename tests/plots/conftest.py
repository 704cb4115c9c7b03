"""Every figure in the project's style, and closed after its test."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest

from nsynth_helpers.plots import use_style


@pytest.fixture(autouse=True)
def styled_figures():
    with plt.rc_context():
        use_style()
        yield
    plt.close("all")
