"""The bench works in all its parts; its numbers on a few notes mean nothing and are not looked at."""

import importlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from nsynth_helpers.settings import PROJECT_ROOT


def test_a_quick_bench_fills_its_table(tmp_path):
    command = [sys.executable, str(PROJECT_ROOT / "tools" / "bench.py"), "--quick", "--out", str(tmp_path / "b.json")]
    environment = os.environ | {"TQDM_DISABLE": "1", "PYTHONPATH": str(PROJECT_ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    bench = json.loads((tmp_path / "b.json").read_text())
    assert bench["environment"]["torch_threads"] >= 1
    assert set(bench["peak_gflops"]) == {"32-true", "bf16-mixed"}
    rows = bench["notes_per_second"]
    for network in ("lstm", "blstm"):
        ways = [name for name in rows if name.startswith(f"{network}, ") and "busy" not in name]
        assert [name.split(" (")[0] for name in ways] == [
            f"{network}, {way}" for way in ("2018 way", "ours, float32", "ours, auto")
        ]
        for name in ways:
            for column in ("loading", "training", "evaluation", "epoch"):
                assert len(rows[name][column]) == 1
                assert 0 < rows[name][column][0] < math.inf
            assert rows[name]["share_of_peak"] > 0
        assert len(rows[ways[0]]["evaluation, 1 thread"]) == 1
        assert all(rows[name]["evaluation, ratio to 1 thread"] > 0 for name in ways)
        assert rows[ways[0]]["epoch, ratio"] == rows[ways[0]]["evaluation, ratio"] == 1
        assert f"{network} 2018 way" in " ".join(result.stdout.split())
    busy = rows["lstm, ours, float32, busy"]
    assert busy["slower"] == [busy["idle"][0] / busy["busy"][0]] * 2
    pairs = pd.read_csv(tmp_path / "epoch_pairs.csv")
    assert pairs.columns.tolist() == ["lstm", "blstm"] and (pairs > 0).all(axis=None)
    assert len(bench["decoding"]) == 4
    # Notebook 04, which would have to train first, is left out.
    assert list(bench["start_up_seconds"]) == ["help", "first figure of notebook 01"]
    assert all(0 < seconds[0] < math.inf for seconds in bench["start_up_seconds"].values())
    costs = pd.read_csv(tmp_path / "growth.csv")
    assert costs["notes"].tolist() == [100, 300]
    assert costs["steps"].tolist() == [4, 10] and costs["measured_steps"].tolist() == [4, 5]
    whole, made_up = costs.to_dict("records")
    assert made_up["epoch_s"] == pytest.approx(made_up["before_first_step_s"] + 10 * made_up["step_s"])
    assert whole["epoch_s"] > whole["step_s"] > 0
    if sys.platform.startswith("linux"):
        assert costs["anonymous_bytes"].between(1e8, 1.5e9).all()
    assert (tmp_path / "bench_growth.png").is_file()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_2018_way_knows_nothing_of_our_settings_of_openmp(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT_ROOT / "tools"))
    bench = importlib.import_module("bench")
    monkeypatch.setenv("GOMP_SPINCOUNT", "10000")
    with bench.process_of_2018() as old:
        # What a process was started with; its imports of ours set the variable once torch is loaded.
        [process] = old._processes.values()
        started_with = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    assert not any(variable.startswith((b"GOMP_SPINCOUNT", b"KMP_BLOCKTIME")) for variable in started_with)
    assert os.environ["GOMP_SPINCOUNT"] == "10000"
