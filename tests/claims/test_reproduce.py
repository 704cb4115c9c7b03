"""`make reproduce` on loopback, with files and pins of the tests' own; with the real ones where they are at hand."""

import functools
import hashlib
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import NOTE_STRS
from nsynth_helpers.analysis.outcomes import confusion_matrix, make_outcomes
from nsynth_helpers.claims import published
from nsynth_helpers.claims import reproduce as module
from nsynth_helpers.claims.reproduce import PUBLISHED_WEIGHTS, published_run, reproduce
from nsynth_helpers.data.download import RetryPolicy
from nsynth_helpers.models import build_network
from nsynth_helpers.settings import PROJECT_ROOT, InputError, Settings
from nsynth_helpers.training.predict import predict
from nsynth_helpers.training.runs import RunConfig

FAST = RetryPolicy(attempts=2, first_wait=0.001, longest_wait=0.01, connect_timeout=2, read_timeout=2)
REAL, REFERENCE = os.environ.get("NSYNTH_REAL"), os.environ.get("NSYNTH_REFERENCE")


def git_blob(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def saved(network: str, legacy: bool = False) -> bytes:
    """Weights as torch saves them; the files of 2018 are of the older format."""
    torch.manual_seed(1)
    file = io.BytesIO()
    weights = build_network(network).state_dict()
    torch.save(weights, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder; cuts the next answers to GET off after so many bytes."""

    cuts = ()

    def log_message(self, *_):
        """Say nothing."""

    def copyfile(self, source, outputfile):
        """Send a file, or its beginning."""
        content = source.read()
        if self.command == "GET" and self.server.cuts:
            content = content[: self.server.cuts.pop(0)]
        outputfile.write(content)


@pytest.fixture
def site(tmp_path, monkeypatch, make_archive):
    """The report's repository and nsynth-test on a server, with the pins of what lies there."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    root = tmp_path / "site"
    files = {}
    for network, (name, _) in PUBLISHED_WEIGHTS.items():
        content = saved(network, legacy=network == "lstm")
        (root / name).parent.mkdir(parents=True)
        (root / name).write_bytes(content)
        files[network] = (name, git_blob(content))
    monkeypatch.setattr(module, "PUBLISHED_WEIGHTS", files)
    archive = make_archive("test", NOTE_STRS, seconds=1.0, root=root).path
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=root)) as server:
        server.cuts, server.root, server.files = [], root, files
        server.url = f"http://127.0.0.1:{server.server_port}/"
        server.md5 = hashlib.md5(archive.read_bytes()).hexdigest()
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def settings(tmp_path) -> Settings:
    return replace(
        Settings(), cache=tmp_path / "cache", runs=tmp_path / "runs", results=tmp_path / "results", device="cpu"
    )


def run(site, settings, tmp_path, **options):
    archives = {"test": {"md5": site.md5}}
    own = {"base_url": site.url, "policy": FAST, "base_urls": [site.url], "archives": archives}
    return reproduce(settings, folder=tmp_path / "kept", **own | options)


def publish_what_comes_out(monkeypatch, settings) -> None:
    """Take the predictions that were kept for the published ones."""
    matrices = {
        network: confusion_matrix(make_outcomes(published_run(settings, network).predictions("test")))
        for network in PUBLISHED_WEIGHTS
    }
    monkeypatch.setattr(published, "confusion_matrix", matrices.get)
    monkeypatch.setattr(published, "correct_notes", lambda network: int(np.trace(matrices[network])))


def test_both_networks_from_nothing(site, settings, tmp_path, monkeypatch):
    done, missing = run(site, settings, tmp_path)
    assert missing == {} and [one.network for one in done] == ["lstm", "blstm"]
    assert all(one.notes == len(NOTE_STRS) and one.differing_cells > 0 for one in done), (
        "these are not the published notes"
    )
    publish_what_comes_out(monkeypatch, settings)
    site.shutdown()
    again, _ = run(site, settings, tmp_path)  # from what is kept and verified: without a network
    assert [one.differing_cells for one in again] == [0, 0]
    assert re.fullmatch(
        r"BLSTM  published (\d+\.\d{3} % \(\d+ of 10\))  computed \1  0 cells of the confusion matrix differ",
        again[1].line,
    )
    kept = load_file(tmp_path / "kept" / "blstm.safetensors")
    assert {name: value.shape for name, value in kept.items()} == {
        name: value.shape for name, value in build_network("blstm").state_dict().items()
    }


def test_predictions_are_those_of_the_weights(site, settings, tmp_path):
    from nsynth_helpers.data.cache import load_split

    run(site, settings, tmp_path)
    test = load_split(replace(settings, data=str(tmp_path / "kept")), "test")
    torch.manual_seed(1)
    expected = predict(build_network("lstm"), RunConfig().frames(test), "cpu")
    ours = published_run(settings, "lstm").predictions("test")
    np.testing.assert_allclose(ours[expected.columns[2:]], expected[expected.columns[2:]], atol=1e-6)


def test_another_blob_is_refused_with_what_to_do_by_hand(site, settings, tmp_path):
    file = site.root / site.files["blstm"][0]
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    done, missing = run(site, settings, tmp_path)
    assert [one.network for one in done] == ["lstm"]
    assert "is not the published file: its git blob is" in missing["blstm"]
    assert "BLSTM%20Results/net_model2.pth by hand and pass it with --weights." in missing["blstm"]
    assert not (tmp_path / "kept" / "blstm.safetensors").exists()


def test_a_file_that_is_cut_off_is_not_taken_for_whole(site, settings, tmp_path):
    site.cuts = [1000, 1000, 1000]
    done, missing = run(site, settings, tmp_path)
    assert [one.network for one in done] == ["blstm"]
    assert "could not be downloaded in 2 attempts" in missing["lstm"]
    assert not (tmp_path / "kept" / "lstm.pth").exists()


def test_an_interrupted_download_goes_on(site, settings, tmp_path):
    site.cuts = [1000, 1000, 1000]
    run(site, settings, tmp_path)
    assert (tmp_path / "kept" / "lstm.pth.part").stat().st_size == 1000
    done, missing = run(site, settings, tmp_path)
    assert missing == {} and len(done) == 2


def test_without_a_network_nothing_is_checked_and_the_way_by_hand_is_told(settings, tmp_path, site):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(InputError, match=r"could not be downloaded .* by hand and pass it with --weights\.$"):
            run(site, settings, tmp_path, base_url=nowhere)
        with pytest.raises(InputError, match=r"nsynth-test.* could not .*; or pass --data with a folder"):
            run(site, settings, tmp_path, base_urls=[nowhere])


class Executes:
    """A pickle that runs a command when it is loaded."""

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("where", ["published", "given"])
def test_a_pickle_that_would_execute_code_is_not_executed(site, settings, tmp_path, monkeypatch, where):
    hostile = Executes()
    hostile.path = tmp_path / "executed"
    file = site.root / site.files["lstm"][0]
    torch.save({"rnn.weight_ih_l0": hostile}, file)
    if where == "given":
        with pytest.raises(InputError, match="is no file of weights alone, none of it was used"):
            run(site, settings, tmp_path, weights=[file])
    else:
        pinned = site.files | {"lstm": (site.files["lstm"][0], git_blob(file.read_bytes()))}
        monkeypatch.setattr(module, "PUBLISHED_WEIGHTS", pinned)
        _, missing = run(site, settings, tmp_path)
        assert "is no file of weights alone, none of it was used" in missing["lstm"]
    assert not hostile.path.exists()
    torch.load(file, weights_only=False)
    assert hostile.path.exists(), "the pickle is a harmless one: the test proves nothing"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (saved("gru"), "holds the weights of neither network of 2018"),
        (b"", "is no file of weights alone"),
        (b"<html>sign in</html>", "is no file of weights alone"),
        (saved("lstm")[:-5000], "is no file of weights alone"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_of_other_shapes_and_other_kinds_are_refused(site, settings, tmp_path, content, told, suffix):
    path = tmp_path / f"given{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        run(site, settings, tmp_path, weights=[path])
    assert str(path) in str(caught.value) and str(caught.value).endswith(".")
    assert told in str(caught.value) or suffix == ".safetensors"


def test_given_files_tell_their_network_by_their_shapes(site, settings, tmp_path):
    for name, network in (("a.pth", "blstm"), ("b.pth", "lstm"), ("c.pth", "lstm")):
        (tmp_path / name).write_bytes(saved(network))
    save_file(build_network("lstm").state_dict(), tmp_path / "d.safetensors")
    nowhere = {"base_url": "http://127.0.0.1:1/"}
    for names in (["a.pth", "b.pth"], ["d.safetensors", "a.pth"]):
        done, missing = run(site, settings, tmp_path, weights=[tmp_path / name for name in names], **nowhere)
        assert missing == {} and len(done) == 2
    with pytest.raises(InputError, match="holds the same network as another file"):
        run(site, settings, tmp_path, weights=[tmp_path / "b.pth", tmp_path / "c.pth"], **nowhere)
    with pytest.raises(InputError, match=r"is no file of weights alone.*; pass net_model1"):
        run(site, settings, tmp_path, weights=[tmp_path / "none.pth"], **nowhere)


def test_the_pins_are_those_of_the_reports_repository():
    assert PUBLISHED_WEIGHTS == {
        "lstm": ("LSTM Results/net_model1.pth", "decdff769180ba2ea5fa279a1e8d15e86c7a2610"),
        "blstm": ("BLSTM Results/net_model2.pth", "a77bbcc860d6cc86d18bfcd8769473e63314ee52"),
    }
    assert module.BASE_URL.startswith("https://") and module.COMMIT in module.BASE_URL


@pytest.mark.skipif(not (REAL and REFERENCE), reason="set NSYNTH_REAL and NSYNTH_REFERENCE to reproduce the LSTM")
def test_the_command_reproduces_the_lstm_and_names_what_is_missing(tmp_path):
    command = [sys.executable, "-m", "nsynth_helpers", "reproduce", "--data", REAL]
    command += ["--weights", f"{REFERENCE}/lstm_2018.safetensors"]
    own = {key: value for key, value in os.environ.items() if not key.startswith("NSYNTH_")}
    # A proxy that is not there: no test reaches for the report's repository.
    own |= {"NSYNTH_CACHE": str(tmp_path / "cache"), "NSYNTH_RUNS": str(tmp_path / "runs"), "TQDM_DISABLE": "1"}
    own |= {"HTTPS_PROXY": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1", "NSYNTH_DEVICE": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env=own, cwd=PROJECT_ROOT, check=False)
    assert done.returncode == 1, done.stderr
    first, *_, last = done.stdout.splitlines()
    accuracy = "64.844 % (2656 of 4096)"
    assert first == f"LSTM   published {accuracy}  computed {accuracy}  0 cells of the confusion matrix differ"
    assert last.startswith("missing: the BLSTM. ") and "--weights" in last
    assert json.loads((tmp_path / "runs" / "lstm-2018" / "metrics.json").read_text())["last"]["test"]["correct"] == 2656
    assert Path(tmp_path, "runs", "lstm-2018", "predictions.parquet").is_file()
