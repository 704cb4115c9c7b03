"""The table of notes: names, families, records."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from nsynth_helpers.data.metadata import (
    FAMILIES,
    OFFICIAL_FAMILIES,
    OFFICIAL_FAMILY_NOTES,
    OFFICIAL_NOTES,
    instrument_overlap,
    is_known_noise,
    is_rendered,
    keep_families,
    parse_examples,
    parse_note_str,
    scale,
    seen_in,
)
from nsynth_helpers.settings import PROJECT_ROOT, InputError

NOTE = "bass_electronic_018-022-100"


def test_name_of_a_note():
    assert parse_note_str("synth_lead_synthetic_009-108-127") == {
        "note_str": "synth_lead_synthetic_009-108-127",
        "family": "synth_lead",
        "label": -1,
        "source": "synthetic",
        "instrument": "synth_lead_synthetic_009",
        "pitch": 108,
        "velocity": 127,
    }


@pytest.mark.parametrize(
    "name",
    [
        "drums_acoustic_000-060-100",
        "bass_018-022-100",
        "bass_electronic_18-022-100",
        "bass_electronic_018-022",
        "bass_electronic_018-022-100-",
        "bass_electronic_018-٠٢٢-100",
        "../bass_electronic_018-022-100",
        "",
    ],
)
def test_unknown_family_or_name_that_does_not_parse(name):
    with pytest.raises(InputError, match="rename the note or remove it") as caught:
        parse_note_str(name)
    assert f"'{name}'" in str(caught.value)


def test_labels_are_the_same_for_every_split():
    names = [f"{family}_acoustic_000-060-100" for family in (*FAMILIES, "synth_lead")]
    assert [parse_note_str(name)["label"] for name in names] == [*range(10), -1]
    assert FAMILIES == ("bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string", "vocal")


def test_official_counts_add_up():
    for split, notes in OFFICIAL_FAMILY_NOTES.items():
        assert len(notes) == len(OFFICIAL_FAMILIES) and sum(notes) == OFFICIAL_NOTES[split]


def test_rendered_instruments_are_those_numbered_from_500():
    names = ["bass_synthetic_499-060-100", "bass_synthetic_500-060-100", "organ_acoustic_000-060-100"]
    assert is_rendered(pd.DataFrame([parse_note_str(name) for name in names])).tolist() == [False, True, False]


def test_records_may_lack_what_the_name_tells():
    table = parse_examples(json.dumps({NOTE: {}}).encode(), "examples.json")
    assert table.to_dict("records") == [parse_note_str(NOTE) | {"qualities": ""}]
    table = parse_examples(json.dumps({NOTE: {"qualities_str": ["dark", "percussive"]}}).encode(), "examples.json")
    assert table["qualities"].item() == "dark,percussive"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "cannot be used ("),
        ("[" * 100_000, "cannot be used ("),
        (b"\xff{}", "cannot be used ("),
        ("[]", "is not an object of note records"),
        ('{"a": 1}', "is not an object of note records"),
        ("{}", "the split is empty"),
        (json.dumps({"drums_acoustic_000-060-100": {}}), "is not of the form"),
        (json.dumps({NOTE: {"pitch": 23}}), f"says pitch 23 for {NOTE}, whose name says 22"),
        (json.dumps({NOTE: {"note_str": "other"}}), "says note_str other"),
        (json.dumps({NOTE: {"instrument_family_str": "brass"}}), "says instrument_family_str brass"),
        (json.dumps({NOTE: {"qualities_str": None}}), "not a list of words"),
        (json.dumps({NOTE: {"qualities_str": [1]}}), "not a list of words"),
    ],
)
def test_broken_or_disagreeing_examples(text, complaint):
    with pytest.raises(InputError, match=r"test/examples\.json|is not of the form") as caught:
        parse_examples(text if isinstance(text, bytes) else text.encode(), "test/examples.json")
    sentence = str(caught.value)
    assert complaint in sentence and "\n" not in sentence and sentence.endswith(".")


def test_synth_lead_is_dropped_and_the_index_stays():
    names = ["synth_lead_synthetic_000-060-100", NOTE]
    kept = keep_families(pd.DataFrame([parse_note_str(name) for name in names]))
    assert kept.index.tolist() == [1] and kept["note_str"].tolist() == [NOTE]


def test_scale_divides_by_the_largest_16_bit_number():
    scaled = scale(np.array([[0, 1, 16_384], [32_767, -32_767, -32_768]], dtype=np.int16)[:, ::-1])
    assert scaled.dtype == np.float32 and scaled.flags.c_contiguous
    expected = np.array([16_384, 1, 0, -32_768, -32_767, 32_767], dtype=np.float32) / np.float32(32_767)
    assert scaled.ravel().tolist() == expected.tolist()


def test_known_noise_is_one_instrument_at_high_pitches():
    names = [f"brass_acoustic_{index:03d}-{pitch:03d}-025" for index in (45, 46) for pitch in (83, 84, 108, 109)]
    table = pd.DataFrame([parse_note_str(name) for name in names])
    assert table["note_str"][is_known_noise(table)].tolist() == names[5:7]


def test_names_load_neither_torch_nor_lightning():
    code = "import sys, nsynth_helpers.data.metadata; print({'torch', 'lightning', 'soundfile'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_seen_and_shared_instruments_go_by_membership():
    train = pd.DataFrame({"instrument": ["a", "a", "b"]})
    test = pd.DataFrame({"instrument": ["b", "c", "d"]})
    assert seen_in(test["instrument"], train).tolist() == [True, False, False]
    overlap = instrument_overlap({"train": train, "test": test})
    assert overlap.to_numpy().tolist() == [[2, 1], [1, 3]]
