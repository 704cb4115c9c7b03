"""Every number in the notebooks' prose stands in an output or in the code of the same notebook, or is a named fact.

Those of `docs/reproduction.md` stand in a file that it names.
"""

import json
import re

import pytest

from nsynth_helpers.report import notebook_paths
from nsynth_helpers.settings import PROJECT_ROOT

NOTEBOOKS = notebook_paths()
DIGITS = r"[−+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
NUMBER = re.compile(rf"(?<![\w.,/]){DIGITS}(?![\w/]|[.,]\d)")
# What is no claim: code, the bibliography, formulas, links, addresses, emphasis of chapter numbers, list numbers,
# years, clock times.
NO_CLAIM = re.compile(
    r"```.*?```|^## Bibliography.*|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\([^)]*\)|<[^>]*>|https?://\S+|^ *\d+\. |arXiv:\S+"
    r"|\(\d{4}\)",
    re.S | re.M,
)
YEARS = range(1900, 2100)
# Whole numbers up to this one are words ("the 2 networks", "10 families", "notebook 04"), or are counted by the eye.
SMALL = 12
# Facts of NSynth, of the report and of music that no cell computes, each with where it can be read.
FACTS = {
    305_979: "notes of NSynth (its paper)",
    289_205: "notes of nsynth-train (its README)",
    283_704: "notes of nsynth-train without synth_lead",
    12_678: "notes of nsynth-valid",
    4_096: "notes of nsynth-test",
    1_006: "instruments of NSynth",
    13.53: "the report's training time of the LSTM, hours:minutes",
    16.56: "the report's training time of the BLSTM, hours:minutes",
    64.844: "the report's LSTM",
    63.696: "the report's BLSTM",
    45.752: "the group's fully connected network",
    52.515: "the group's convolutional network",
    0.02: "nats to which the curves of the 2018 LSTM were read off (report_2018.json)",
    21: "lowest pitch of a piano (MIDI)",
    108: "highest pitch of a piano (MIDI)",
    32_767: "largest 16-bit number",
    95: "per cent of an interval",
    100: "steps of a note; per cent",
    160: "samples of a step",
    16_000: "samples of a second",
}  # fmt: skip


def value(text: str) -> float:
    """A number of a text, whatever its thousands separator and its minus."""
    return float(text.replace(",", "").replace("−", "-"))


def numbers_shown(notebook: dict) -> set[float]:
    """The numbers of the outputs and the code; shares also as per cent."""
    texts = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            texts.append("".join(cell["source"]))
            for output in cell["outputs"]:
                texts.append("".join(output.get("text", "")))
                data = output.get("data", {})
                texts += ["".join(data[kind]) for kind in ("text/plain", "text/html", "text/markdown") if kind in data]
    found = {value(text) for text in re.findall(DIGITS, " ".join(texts))}
    return found | {100 * number for number in found if abs(number) <= 1}


def unshown(notebook: dict) -> list[tuple[int, str]]:
    """Cell and text of each number of the prose that nothing in the notebook shows at that precision."""
    shown = {abs(number) for number in numbers_shown(notebook)} | set(FACTS)
    missing = []
    for place, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "markdown":
            continue
        for text in NUMBER.findall(NO_CLAIM.sub(" ", "".join(cell["source"]))):
            number, decimals = abs(value(text)), len(text.partition(".")[2])
            word = decimals == 0 and (number <= SMALL or number in YEARS)
            if not word and not any(abs(number - other) <= 0.5001 * 10**-decimals for other in shown):
                missing.append((place, text))
    return missing


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_number_of_the_prose_is_shown(path):
    assert unshown(json.loads(path.read_text())) == []


def test_every_number_on_reproduction_stands_in_a_file_that_its_paragraph_names():
    page = PROJECT_ROOT / "docs" / "reproduction.md"
    filled = r"<!-- (\w+) -->.*?<!-- end of \1 -->"  # by tools/readme.py
    missing = []
    for paragraph in re.sub(filled, "", page.read_text(), flags=re.S).split("\n\n"):
        cells = [{"cell_type": "markdown", "source": [paragraph]}]
        for target in set(re.findall(r"\]\(([^)]+)\)", paragraph)):
            text = (page.parent / target).read_text()
            if target.endswith(".ipynb"):
                cells += [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
            else:
                cells.append({"cell_type": "code", "source": [text], "outputs": []})
        missing += [number for _, number in unshown({"cells": cells})]
    assert missing == []


def test_a_number_that_nothing_shows_is_found():
    code = {"cell_type": "code", "source": ["1 + 1"], "outputs": [{"text": ["accuracy 0.4375 of 1,600 notes"]}]}
    prose = {"cell_type": "markdown", "source": ["43.8 % of 1,600 notes, not 43.9 % of 1,601; 1 of 2 in 2018."]}
    assert unshown({"cells": [code, prose]}) == [(1, "43.9"), (1, "1,601")]
