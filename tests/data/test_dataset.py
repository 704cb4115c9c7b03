"""Batches of frames: layout, labels, options, and memory that does not grow with the notes."""

import itertools
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import cached_split
from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.data.dataset import NSynthDataModule, NSynthDataset, batches, draw_weights
from nsynth_helpers.data.metadata import FAMILIES, parse_note_str
from nsynth_helpers.settings import PROJECT_ROOT, InputError

SAMPLES = 1_600


def split_of(families, samples=SAMPLES) -> NSynthSplit:
    """A split of random waveforms, one note for each of the families."""
    names = [f"{family}_acoustic_{i:03d}-060-100" for i, family in enumerate(families)]
    waveforms = np.random.default_rng(0).integers(-32_768, 32_768, (len(names), samples), dtype=np.int16)
    return cached_split("train", names, waveforms)


def test_frames_are_the_samples_in_order_scaled_as_in_2018():
    cached = split_of(FAMILIES)
    frames, labels = NSynthDataset(cached).__getitems__([2, 7])
    assert frames.shape == (2, 10, 160) and frames.dtype == torch.float32
    for step, sample in [(0, 0), (0, 159), (1, 0), (9, 159)]:
        assert frames[1, step, sample] == np.float32(cached.waveforms[7, 160 * step + sample]) / np.float32(32_767)
    assert labels.tolist() == [2, 7] and labels.dtype == torch.int64


def test_batch_equals_note_by_note():
    notes = NSynthDataset(split_of(FAMILIES))
    order = [5, 0, 9, 5]
    frames, labels = notes.__getitems__(order)
    for place, index in enumerate(order):
        assert torch.equal(frames[place], notes[index][0]) and labels[place] == notes[index][1]


@pytest.mark.parametrize("options", [{}, {"seconds": 0.05, "reverse": True}, {"normalise_level": True}])
def test_notes_on_a_device_make_the_same_batches(options):
    """The CPU stands for the device: what is gathered there are tensors, in place of rows of the cache."""
    cached, order = split_of(["vocal", "synth_lead", "bass", "string"]), [2, 0, 2]
    here, there = NSynthDataset(cached, **options), NSynthDataset(cached, **options)
    there.to(torch.device("cpu"))
    assert isinstance(there.waveforms, torch.Tensor) and len(there) == 3
    for one, other in zip(here.__getitems__(order), there.__getitems__(order), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("kind", "free", "moves"), [("cuda", 90_000, True), ("cuda", 89_000, False), ("cpu", 0, False)]
)
def test_notes_go_to_a_gpu_once_where_they_fill_at_most_half_of_it(kind, free, moves, monkeypatch):
    """Ten notes of 1,600 samples in train, four in valid: 44,800 bytes."""
    moved = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))
    monkeypatch.setattr(NSynthDataset, "to", lambda notes, device: moved.append((len(notes), device.type)))
    data = NSynthDataModule(NSynthDataset(split_of(FAMILIES)), NSynthDataset(split_of(FAMILIES[:4])), 2)
    data.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(kind)))
    data.setup("fit")
    assert moved == ([(10, "cuda"), (4, "cuda")] if moves else [])


def test_batches_are_pinned_for_a_gpu_unless_the_notes_lie_there(monkeypatch):
    notes = NSynthDataset(split_of(FAMILIES))
    assert not batches(notes, 4).pin_memory
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert batches(notes, 4).pin_memory
    notes.to(torch.device("cpu"))
    assert not batches(notes, 4).pin_memory


def test_synth_lead_is_dropped_and_labels_keep_the_fixed_order():
    cached = split_of(["vocal", "synth_lead", "bass", "synth_lead", "string"])
    notes = NSynthDataset(cached)
    assert notes.labels.tolist() == [9, 0, 8]
    assert notes.notes["family"].tolist() == ["vocal", "bass", "string"]
    frames, _ = notes.__getitems__([0, 1, 2])
    expected = cached.waveforms[[0, 2, 4]].astype(np.float32) / np.float32(32_767)
    assert torch.equal(frames.flatten(1), torch.from_numpy(expected))


def test_reverse_plays_the_whole_note_backwards():
    cached = split_of(FAMILIES)
    forwards, backwards = NSynthDataset(cached)[3][0], NSynthDataset(cached, reverse=True)[3][0]
    assert torch.equal(backwards.flatten(), forwards.flatten().flip(0))


def test_normalised_level_peaks_at_one():
    cached = split_of(FAMILIES)
    cached.waveforms[4] //= 100
    cached.waveforms[5] = 0
    frames, _ = NSynthDataset(cached, normalise_level=True).__getitems__([4, 5, 6])
    assert frames[0].abs().max() == 1 and not frames[1].any() and frames[2].abs().max() == 1
    plain, _ = NSynthDataset(cached).__getitems__([4])
    assert torch.allclose(frames[0], plain[0] / plain[0].abs().max())


def test_seconds_and_step_size():
    cached = split_of(FAMILIES)
    frames, _ = NSynthDataset(cached, step_size=320, seconds=0.05).__getitems__([0])
    assert frames.shape == (1, 2, 320)
    expected = cached.waveforms[0, :640].astype(np.float32) / np.float32(32_767)
    assert torch.equal(frames.flatten(), torch.from_numpy(expected))


@pytest.mark.parametrize("options", [{"seconds": 0.2}, {"seconds": 0.001}, {"step_size": 2 * SAMPLES}])
def test_more_than_is_cached(options):
    with pytest.raises(InputError, match="set NSYNTH_SECONDS to fit"):
        NSynthDataset(split_of(FAMILIES), **options)


def test_split_of_synth_lead_alone():
    with pytest.raises(InputError, match="no note"):
        NSynthDataset(split_of(["synth_lead"]))


def test_batches_keep_the_order_and_the_rest():
    notes = NSynthDataset(split_of(FAMILIES))
    found = [labels.tolist() for _, labels in batches(notes, 4)]
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def order_of(epoch: int, **options) -> list[int]:
    notes = NSynthDataset(split_of(FAMILIES))
    loader = NSynthDataModule(notes, notes, 4, **options).train_dataloader()
    loader.batch_sampler.sampler.set_epoch(epoch)
    return [label for _, labels in loader for label in labels.tolist()]


def test_training_notes_are_mixed_anew_and_the_same_for_a_seed():
    assert sorted(order_of(0)) == list(range(10))
    assert order_of(0) != order_of(1) and order_of(0) != list(range(10))
    assert order_of(3) == order_of(3) and order_of(3, seed=1) != order_of(3)
    assert order_of(1, shuffle=False) == list(range(10))


@pytest.mark.parametrize(("notes", "sizes"), [(8, [4, 4]), (9, [4, 4]), (10, [4, 4, 2])])
def test_a_last_training_batch_of_one_note_is_left_out(notes, sizes):
    loader = NSynthDataModule(*[NSynthDataset(split_of(FAMILIES[:1] * notes))] * 2, 4).train_dataloader()
    assert [len(labels) for _, labels in loader] == sizes


def drawn(epochs=range(300), processes=1, rank=0, **options) -> pd.DataFrame:
    """The training notes of some epochs: of 20 bass and 10 vocal notes, half of each of a rendered instrument."""
    names = [f"bass_acoustic_{i % 2 * 500:03d}-{i:03d}-100" for i in range(20)]
    names += [f"vocal_acoustic_{i % 2 * 500:03d}-{i:03d}-100" for i in range(10)]
    notes = NSynthDataset(cached_split("train", names, np.zeros((30, SAMPLES))))
    data = NSynthDataModule(notes, notes, 8, **options)
    data.trainer = SimpleNamespace(world_size=processes, global_rank=rank)
    loader, rows = data.train_dataloader(), []
    for epoch in epochs:
        loader.batch_sampler.sampler.set_epoch(epoch)
        rows += [row for batch in loader.batch_sampler for row in batch]
    return notes.notes.iloc[rows].assign(row=rows)


@pytest.mark.parametrize(
    ("options", "vocals", "rendered"),
    [
        ({"sampling": "all"}, 1 / 3, 1 / 2),
        ({"sampling": "balanced"}, 1 / 2, 1 / 2),
        ({"sampling": "nsynth"}, 10_208 / (65_474 + 10_208), 1 / 2),
        ({"rendered_weight": 0.25}, 1 / 3, 1 / 5),
        ({"sampling": "balanced", "rendered_weight": 3.0}, 1 / 2, 3 / 4),
        ({"notes_per_epoch": 10}, 1 / 3, 1 / 2),
        ({"sampling": "balanced", "rendered_weight": 0.0}, 1 / 2, 0),
    ],
)
def test_notes_are_drawn_in_the_shares_asked_for(options, vocals, rendered):
    notes = drawn(**options)
    assert len(notes) == 300 * options.get("notes_per_epoch", 30)
    counts = notes["row"].value_counts()
    assert (counts.nunique() == 1) == (options == {"sampling": "all"})  # each once
    assert (notes["family"] == "vocal").mean() == pytest.approx(vocals, abs=0.03)
    for _, family in notes.groupby("family"):
        assert (family["instrument"].str[-3:] == "500").mean() == pytest.approx(rendered, abs=0.06)


def test_where_all_notes_are_rendered_a_weight_of_0_leaves_none():
    notes = pd.DataFrame({"family": ["reed"] * 2, "instrument": ["reed_acoustic_500"] * 2})
    with pytest.raises(InputError, match="none is left to draw; set it above 0"):
        draw_weights(notes, "balanced", 0.0)


def test_drawn_notes_are_those_of_seed_and_epoch_and_shared_by_processes():
    options = {"sampling": "balanced", "notes_per_epoch": 16}
    first, second = (drawn([epoch], **options)["row"].tolist() for epoch in (0, 1))
    assert first != second and drawn([0, 1], **options)["row"].tolist() == first + second
    assert drawn([0], seed=7, **options)["row"].tolist() != first
    halves = [drawn([0], processes=2, rank=rank, **options)["row"].tolist() for rank in (0, 1)]
    assert sorted(halves[0] + halves[1]) == sorted(first)


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize(("notes", "size"), [(40, 8), (37, 8), (41, 8), (9, 9), (7, 3), (1, 8)])
def test_processes_share_each_batch_of_one_process_or_each_has_all_of_it(processes, notes, size):
    cached = NSynthDataset(split_of(FAMILIES[:1] * notes))
    order = torch.randperm(notes).tolist()
    loaders = [batches(cached, size, order, processes=processes, rank=rank) for rank in range(processes)]
    whole = [order[start : start + size] for start in range(0, notes, size)]
    for index, shares in enumerate(zip(*[loader.batch_sampler for loader in loaders], strict=True)):
        shared = len(whole[index]) >= 2 * processes
        assert all(len(share) > 1 for share in shares) or len(whole[index]) == 1
        assert sorted(itertools.chain(*shares)) == sorted(whole[index] * (1 if shared else processes))
        assert loaders[0].batch_sampler.notes(index) == len(whole[index])
    assert len(loaders[0]) == len(whole)


@pytest.mark.parametrize("notes", [1, 2, 31, 33])
@pytest.mark.parametrize("batch_size", [1, 8, 32])
@pytest.mark.parametrize("seconds", [0.5, 2.0])
def test_tiny_splits_make_batches_of_all_their_notes(notes, batch_size, seconds):
    split = NSynthDataset(split_of([FAMILIES[i % 10] for i in range(notes)], round(seconds * 16_000)))
    module = NSynthDataModule(split, split, batch_size)
    sizes = [len(frames) for frames, _ in module.train_dataloader()]
    # One note behind full batches is left out; one note alone is a batch.
    assert sum(sizes) == notes - (batch_size > 1 and notes > batch_size and notes % batch_size == 1)
    assert sum(len(labels) for _, labels in module.val_dataloader()) == notes
    frames, _ = next(iter(module.train_dataloader()))
    assert frames.shape == (min(notes, batch_size), 100 * seconds, 160)


# Measured: about 300, for the table, its copy without synth_lead, the labels and the row numbers.
BYTES_A_NOTE = 450
MEASURE = """
    import ctypes, gc, re, sys
    from pathlib import Path
    import numpy as np
    import pandas as pd
    import pyarrow
    from nsynth_helpers.data.dataset import NSynthDataset
    from nsynth_helpers.data.cache import NSynthSplit

    def anonymous():
        # What parquet's reader and the allocator merely keep in reserve is not held by the notes.
        gc.collect()
        pyarrow.default_memory_pool().release_unused()
        ctypes.CDLL(None).malloc_trim(0)
        return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

    def load(notes):
        table = pd.read_parquet(Path(sys.argv[1], f"{notes}.parquet"))
        rows = np.memmap(Path(sys.argv[1], f"{notes}.int16"), dtype=np.int16, mode="r", shape=(notes, 16_000))
        return NSynthDataset(NSynthSplit("train", table, rows, ""))

    def read(frames, count):
        for indices in np.random.default_rng(0).permutation(len(frames))[:count].reshape(-1, 32):
            frames.__getitems__(indices)

    loaded, marks = [], []
    for notes in map(int, sys.argv[2:]):
        loaded.append(load(notes))
        read(loaded[-1], 640)
        marks.append(anonymous())
    read(loaded[-1], 32_000)
    print(*marks, anonymous())
"""


def sparse_cache(folder, notes: int) -> None:
    """A cache of a given size that takes no room on disk."""
    base = [parse_note_str(f"{FAMILIES[i % 10]}_acoustic_{i % 1000:03d}-{i // 1000:03d}-100") for i in range(notes)]
    pd.DataFrame(base).assign(qualities="bright,fast_decay").to_parquet(folder / f"{notes}.parquet")
    with (folder / f"{notes}.int16").open("wb") as file:
        file.truncate(notes * 2 * 16_000)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RssAnon is a number of Linux")
def test_memory_does_not_grow_with_the_notes_beyond_the_table(tmp_path):
    """The waveforms are 0.6 and 3.2 GB; of anonymous memory a note takes its row in the tables and no more."""
    sizes = 20_000, 100_000
    for notes in sizes:
        sparse_cache(tmp_path, notes)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURE), tmp_path, *map(str, sizes)],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    few, many, after_reading = map(int, done.stdout.split())
    print(f"{(many - few) / sizes[1]:.0f} bytes a note; {after_reading - many} more after reading")
    assert many - few < BYTES_A_NOTE * sizes[1]
    # Reading 1 GB of waveforms leaves nothing behind.
    assert after_reading - many < 10_000_000
