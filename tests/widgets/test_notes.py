"""What the explorers tell the browser; what a reader does with it is in tests/browser."""

import base64
import io
import json
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from conftest import cached_split
from nsynth_helpers import view, widgets
from nsynth_helpers.analysis.beliefs import belief_over_time
from nsynth_helpers.analysis.outcomes import extremes, make_outcomes
from nsynth_helpers.data.metadata import FAMILIES, LOGITS, SAMPLE_RATE
from nsynth_helpers.settings import InputError, write_json
from nsynth_helpers.training.runs import Run, RunConfig, save_weights

NOTES = (
    "bass_acoustic_000-030-100",
    "bass_acoustic_000-031-025",
    "keyboard_acoustic_001-060-100",
    "synth_lead_synthetic_003-050-127",
    "vocal_acoustic_002-060-100",
)
FAMILY_NOTES = [name for name in NOTES if "lead" not in name]


@pytest.fixture
def split():
    time = np.arange(SAMPLE_RATE // 4) / SAMPLE_RATE
    tones = [20_000 * np.sin(2 * np.pi * 110 * (row + 1) * time) for row in range(len(NOTES))]
    return cached_split("test", NOTES, tones)


@pytest.fixture
def run(tmp_path) -> Run:
    """An untrained BLSTM, which is enough for beliefs."""
    config = RunConfig(network="blstm", network_arguments={"hidden_size": 4, "num_layers": 1}, seconds=0.25)
    torch.manual_seed(0)
    write_json(tmp_path / "config.json", {"config": config.__dict__})
    save_weights(config.build_network(), tmp_path / "last.safetensors")
    return Run(tmp_path)


def outcomes(answers: dict[str, str], logit: float = 3.0) -> pd.DataFrame:
    table = pd.DataFrame({"note_str": list(answers), "family": [name.split("_")[0] for name in answers]})
    table[LOGITS] = 0.0
    for row, answer in enumerate(answers.values()):
        table.loc[row, f"logit_{answer}"] = logit + row
    return make_outcomes(table)


def decoded(text: str, kind) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def names_in(data: dict) -> list[str]:
    """The notes of the table, put together as the front end does."""
    table = {
        column: decoded(data["notes"][column], kind)
        for column, kind in {"instrument": "<u2", "pitch": "u1", "velocity": "u1"}.items()
    }
    return [f"{data['notes']['instruments'][i]}-{p:03d}-{v:03d}" for i, p, v in zip(*table.values(), strict=True)]


def ask(widget, place: int) -> tuple[dict, list[bytes]]:
    """What the kernel answers when the browser asks for a note."""
    sent = []
    widget.send = lambda content, buffers=None: sent.append((content, buffers))
    widget._handle_custom_msg({"note": place}, [])
    [answer] = sent
    return answer


def test_the_explorer_tells_all_notes_of_all_splits_in_four_numbers_each(split):
    other = cached_split("train", NOTES[:2], split.waveforms[:2])
    data = widgets.NoteExplorer({"train": other, "test": split}).data
    assert names_in(data) == [*NOTES[:2], *NOTES]
    assert [data["notes"]["splits"][i] for i in decoded(data["notes"]["split"], "u1")] == ["train"] * 2 + ["test"] * 5
    assert (data["rate"], data["step"], data["samples"]) == (16_000, 160, 4_000)


def test_stored_notes_are_bounded_and_spread_over_the_families(split):
    assert list(widgets.NoteExplorer({"test": split}).data["stored"]) == list(range(len(NOTES)))
    few = widgets.NoteExplorer({"test": split}, stored=2).data
    assert [names_in(few)[place].split("_")[0] for place in few["stored"]] == ["bass", "vocal"]
    assert widgets.NoteExplorer({"test": split}, stored=0).data["stored"] == {}
    sound, _ = soundfile.read(io.BytesIO(decoded(few["stored"][4]["sound"], "u1")))
    assert np.corrcoef(sound, split.waveforms[4])[0, 1] > 0.99


def test_the_kernel_answers_with_sound_and_beliefs(split, run):
    explorer = widgets.NoteExplorer({"test": split}, runs={"BLSTM": run}, stored=0)
    content, (sound, belief) = ask(explorer, 4)
    assert content == {"note": 4, "networks": [True]}
    assert sound == widgets.encode_mp3(split.waveforms[4])
    frames = run.config.frames(split)
    expected = belief_over_time(run.load_network(), frames, [3])[0]
    assert np.abs(np.frombuffer(belief, "<u2").reshape(25, 10) / 65535 - expected).max() < 1e-4
    assert explorer.data["networks"] == [{"name": "BLSTM", "bidirectional": True}]


@pytest.mark.parametrize(
    ("change", "seconds_of_a_step"),
    [
        ({"step_size": 80}, 0.005),
        ({"step_size": 320}, 0.02),
        ({"network_arguments": {"front_end": "log_mel"}}, 0.032),
        ({"network_arguments": {"front_end": "log_mel", "hop": 200, "stem": [2], "stem_hop": 2}}, 0.025),
    ],
)
def test_beliefs_of_other_steps_stand_on_the_time_axis_of_the_view(split, change, seconds_of_a_step):
    config = RunConfig(seconds=0.25, **change)
    run = SimpleNamespace(config=config, load_network=config.build_network)
    explorer = widgets.NoteExplorer({"test": split}, runs={"LSTM": run}, stored=1)
    belief = decoded(explorer.data["stored"][0]["beliefs"][0], "<u2").reshape(-1, 10)
    own = belief_over_time(explorer.believers["LSTM"].network, config.frames(split), [0], "cpu")[0]
    places = [int((0.01 * frame - 1e-6) / seconds_of_a_step) for frame in range(1, len(belief) + 1)]
    assert len(belief) == (24 if config.step_size == 320 else 25)
    np.testing.assert_allclose(belief / 65535, own[places], atol=1e-4)


def test_synth_lead_is_heard_though_no_network_knows_it(split, run):
    explorer = widgets.NoteExplorer({"test": split}, runs={"BLSTM": run})
    content, (sound,) = ask(explorer, 3)
    assert content == {"note": 3, "networks": [False]} and sound == widgets.encode_mp3(split.waveforms[3])
    assert explorer.data["stored"][3]["beliefs"] == [None]
    assert len(decoded(explorer.data["stored"][0]["beliefs"][0], "<u2")) == 250


def test_a_fault_in_the_kernel_is_told_in_the_view(split):
    explorer = widgets.NoteExplorer({"test": split})
    explorer.splits = {}
    sent = []
    explorer.send = lambda content, buffers=None: sent.append(content)
    with pytest.raises(KeyError):
        explorer._answer(explorer, {"note": 0}, [])
    assert sent == [{"note": 0, "error": "'test'"}]


def test_the_confusion_explorer_has_every_networks_logits_of_the_same_note(split):
    lstm = outcomes(dict(zip(FAMILY_NOTES, ["bass", "keyboard", "bass", "vocal"], strict=True)))
    blstm = outcomes(dict(zip(FAMILY_NOTES[::-1], ["vocal", "organ", "bass", "reed"], strict=True)))
    data = widgets.ConfusionExplorer({"LSTM": lstm, "BLSTM": blstm}, split).data
    assert names_in(data) == sorted(FAMILY_NOTES)
    answers = {
        network["name"]: [FAMILIES[i] for i in decoded(network["logits"], "<f4").reshape(-1, 10).argmax(axis=1)]
        for network in data["networks"]
    }
    assert answers == {"LSTM": ["bass", "keyboard", "bass", "vocal"], "BLSTM": ["reed", "bass", "organ", "vocal"]}
    sound, _ = soundfile.read(io.BytesIO(decoded(data["stored"][3]["sound"], "u1")))
    assert np.corrcoef(sound, split["vocal_acoustic_002-060-100"].audio)[0, 1] > 0.99


def test_the_first_note_of_every_cell_is_stored_before_the_second_of_any_and_confusions_first(split):
    # Two bass notes are taken for keyboard, the second by the larger margin: there the explorer opens.
    lstm = outcomes(dict(zip(FAMILY_NOTES, ["keyboard", "keyboard", "bass", "vocal"], strict=True)))
    stored = [widgets.ConfusionExplorer({"LSTM": lstm}, split, stored=count).data for count in (1, 2, 3)]
    names = [[names_in(data)[place] for place in data["stored"]] for data in stored]
    assert names == [[FAMILY_NOTES[1]], FAMILY_NOTES[1:3], FAMILY_NOTES[1:]]


def test_networks_tested_on_other_notes_or_another_split_are_refused(split):
    lstm = outcomes(dict.fromkeys(FAMILY_NOTES, "bass"))
    with pytest.raises(InputError, match="same notes"):
        widgets.ConfusionExplorer({"LSTM": lstm, "BLSTM": outcomes(dict.fromkeys(FAMILY_NOTES[:2], "bass"))}, split)
    with pytest.raises(InputError, match="The train split holds no note 'vocal"):
        widgets.ConfusionExplorer({"LSTM": lstm}, cached_split("train", NOTES[:3], split.waveforms[:3]))


def test_the_gallery_stores_all_its_notes_with_their_answers(split):
    table = outcomes(dict(zip(FAMILY_NOTES, ["bass", "bass", "organ", "vocal"], strict=True)))
    data = widgets.ExtremesGallery(extremes(table), split, "LSTM").data
    # The second bass note has the larger logit; a family with one right note has it at both ends.
    ends = list(zip(names_in(data), [data["columns"][column] for column in data["cells"]], strict=True))
    assert ("bass_acoustic_000-031-025", "highest probability") in ends
    assert ("bass_acoustic_000-030-100", "lowest probability") in ends
    assert len(ends) == len(data["stored"]) == 4 and "keyboard" not in str(ends)
    assert len(decoded(data["networks"][0]["logits"], "<f4")) == 40
    with pytest.raises(InputError, match="no extreme note"):
        widgets.ExtremesGallery(extremes(table)[:0], split, "LSTM")


def test_the_map_has_places_answers_and_sounds_of_the_notes_asked_for(split):
    table = outcomes(dict(zip(FAMILY_NOTES, ["bass", "bass", "organ", "vocal"], strict=True)))
    table = table.assign(x=[1.0, 2.0, 3.0, 4.0], y=0.0)[1:]
    data = widgets.NoteMap(table, [0.4, 0.1], split, "LSTM", stored=2).data
    assert names_in(data) == FAMILY_NOTES[1:] and list(data["stored"]) == [0, 2]
    assert decoded(data["x"], "<f4").tolist() == [2, 3, 4]
    assert data["total"] == 4, "synth_lead does not count"
    assert len(data["colours"]) == len(FAMILIES)
    with pytest.raises(InputError, match="The train split holds no note 'vocal"):
        widgets.NoteMap(table, [0.4, 0.1], cached_split("train", NOTES[:3], split.waveforms[:3]), "LSTM")


def test_a_page_of_text_alone_reads_the_same_in_every_run(split):
    texts = {repr(widgets.NoteExplorer({"test": split})) for _ in range(2)}
    assert texts == {"NoteExplorer: alive in JupyterLab and on the pages of the report"}


def test_a_page_without_a_kernel_gets_the_view_as_html(split):
    explorer = widgets.NoteExplorer({"test": split})
    output = nbformat.v4.new_output("display_data", {view.WIDGET_VIEW: {"model_id": "m"}, "text/plain": "x"})
    other = nbformat.v4.new_output("display_data", {view.WIDGET_VIEW: {"model_id": "slider"}})
    cell = nbformat.v4.new_code_cell(outputs=[output, other])
    state = {"m": {"state": {"_esm": view.MODULE, "data": explorer.data}}, "slider": {"state": {}}}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {view.WIDGET_STATE: {"state": state}}})
    assert view.without_kernel(notebook)
    bundle = notebook.cells[0].outputs[0]["data"]
    content = bundle["text/html"].split(">", 2)[2].removesuffix("</script></div>")
    assert json.loads(content)["notes"] == explorer.data["notes"]
    assert view.WIDGET_VIEW not in bundle and view.WIDGET_VIEW in notebook.cells[0].outputs[1]["data"]
    assert not view.without_kernel(notebook), "there is nothing left to turn"


def test_a_name_cannot_end_the_embedded_data():
    assert "</script><b>" not in view.embed({"title": "</script><b>"})
    assert json.loads(view.embed({"title": "</b>"}).split(">", 2)[2].removesuffix("</script></div>")) == {
        "title": "</b>"
    }


def test_the_module_asks_no_address_of_the_web():
    assert "http:" not in view.MODULE and "https:" not in view.MODULE and "import(" not in view.MODULE
