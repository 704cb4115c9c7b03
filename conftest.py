"""What nbval must not compare: progress bars and other words on stderr, and the views of widgets."""


def pytest_collectstart(collector):
    """Tell nbval's notebook collectors what to leave out of the comparison."""
    if getattr(collector, "skip_compare", None) is not None:
        collector.skip_compare += ("stderr", "application/vnd.jupyter.widget-view+json")
