"""Everything the notebooks of the NSynth workbook call: data, models, training, analysis, figures."""

__version__ = "1.0.0"
