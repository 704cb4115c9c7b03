"""The bench works in all its parts; its numbers on a few notes mean nothing and are not looked at."""

import json
import math
import os
import subprocess
import sys

import pandas as pd

from nsynth_helpers.settings import PROJECT_ROOT


def test_a_quick_bench_fills_its_table(tmp_path):
    command = [sys.executable, str(PROJECT_ROOT / "tools" / "bench.py"), "--quick", "--out", str(tmp_path / "b.json")]
    environment = os.environ | {"TQDM_DISABLE": "1", "PYTHONPATH": str(PROJECT_ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
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
        assert rows[ways[0]]["epoch, ratio"] == rows[ways[0]]["evaluation, ratio"] == 1
        assert f"{network} 2018 way" in " ".join(result.stdout.split())
    busy = rows["lstm, ours, float32, busy"]
    assert busy["slower"] == [busy["idle"][0] / busy["busy"][0]] * 2
    pairs = pd.read_csv(tmp_path / "epoch_pairs.csv")
    assert pairs.columns.tolist() == ["lstm", "blstm"] and (pairs > 0).all(axis=None)
    assert len(bench["decoding"]) == 4
