"""The parts of the torture tests with reduced counts; each of them must notice a pipeline that breaks a promise."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline import ConvBaseSpec, extract_features, scan_images
from pipeline.store import StoreWriter
from tests.fakes import photo_folder

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--n", "40", "--rows-per-shard", "16", "--quick", "--kills", "0", "--seed", "1"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


LOCAL = "from scripts.torture.__main__ import Torture"


def torture(
    tmp_path: Path, *arguments: str, breaking: str = "", kind: str = LOCAL
) -> tuple[int, list[dict[str, Any]], str]:
    """Run parts of the torture tests in a new process; the code in `breaking` may break the pipeline first."""
    code = f"{breaking}\nimport sys\nfrom scripts.torture.__main__ import main\n{kind}\n"
    code += "sys.exit(main(sys.argv[1:], Torture))"
    report, photos = tmp_path / "report.json", photo_folder(tmp_path / "photos", 20)
    done = subprocess.run(
        [sys.executable, "-c", code, *SMALL, "--images", str(photos), "--json", str(report), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    parts = json.loads(report.read_text())["parts"] if report.exists() else []
    return done.returncode, parts, done.stdout + done.stderr


def test_fault_01_06_07_a_kill_costs_one_shard_at_most_and_second_writers_get_an_error(tmp_path):
    status, (steps, moments), said = torture(tmp_path, "--parts", "a", "--kills", "20")
    assert status == 0, said
    assert steps["tried"]["steps"] > 30 and steps["tried"]["second writers refused"] > 30
    assert moments["tried"]["kills in the run"] == 20


def test_fault_04_an_error_in_any_of_the_first_file_operations_is_one_line(tmp_path):
    status, (injected, starved), said = torture(tmp_path, "--parts", "b", "--operations", "50")
    assert status == 0, said
    assert sum(injected["tried"].values()) == 50 and injected["tried"]["stopped with a one-line message"] > 40
    assert starved["tried"]["limits"] == 5


def test_fault_09_a_flipped_bit_anywhere_is_detected_or_without_effect(tmp_path):
    status, (flips,), said = torture(tmp_path, "--parts", "c", "--flips", "100")
    assert status == 0, said
    assert flips["tried"]["detected"] + flips["tried"].get("without effect", 0) == 100


def test_fault_12_13_a_change_of_any_field_of_the_spec_is_an_error_with_its_name(tmp_path):
    status, (specs,), said = torture(tmp_path, "--parts", "d")
    assert status == 0, said
    assert specs["tried"] == {"changes refused; each message names the setting": 15}


def test_stores_in_int8_keep_the_promises_too(tmp_path):
    options = ["--precision", "int8", "--parts", "acd", "--kills", "5", "--flips", "50"]
    status, (_, moments, flips, specs), said = torture(tmp_path, *options)
    assert status == 0, said
    assert moments["tried"]["kills in the run"] == 5
    assert flips["tried"] == {"detected": 50} and "conv_base.tflite" in " ".join(flips["notes"])
    assert specs["tried"] == {"changes refused; each message names the setting": 15}


def test_fault_22_25_28_bad_images_shift_no_row_and_take_little_memory(tmp_path):
    status, (images,), said = torture(tmp_path, "--parts", "e")
    assert status == 0, said
    assert images["tried"]["images"] >= 20


def test_the_syncs_are_timed(tmp_path):
    status, (syncs,), said = torture(tmp_path, "--parts", "f")
    assert status == 0, said
    assert syncs["tried"]["runs"] == 6 and "inside fsync" in said


def test_fault_03_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path):
    status, (states,), said = torture(tmp_path, "--parts", "g", "--states", "600")
    assert status == 0, said
    assert states["tried"]["distinct states"] == 60 and states["tried"]["acknowledged rows lost"] == 0


def test_fault_03_a_power_cut_on_ext4_loses_nothing_that_was_acknowledged(tmp_path):
    status, (cuts,), said = torture(tmp_path, "--parts", "h", "--cuts", "5")
    assert status == 0, said
    if cuts["impossible"]:
        pytest.skip(cuts["verdict"])
    assert cuts["tried"]["cuts in a run"] == 5 and cuts["tried"]["acknowledged rows lost"] == 0


WRITES_IN_PLACE = """
import os
def write(path, data):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(descriptor, data)
    os.close(descriptor)
import pipeline.store.write_store
pipeline.store.write_store.write_durably = write
"""
HAS_NO_LOCK = """
import contextlib, pipeline.store.write_store
from unittest.mock import Mock
def no_lock(directory):
    directory.mkdir(exist_ok=True)
    return contextlib.nullcontext(Mock())
pipeline.store.write_store.lock_directory = no_lock
"""
PRINTS_TWO_LINES = """
import sys, pipeline.cli.exit as exit_module
def print_error(error, program, resume_hint):
    print(f"{program}: {error}\\nsorry", file=sys.stderr)
    return getattr(error, "exit_status", 1)
exit_module._print_error = print_error
"""
READS_UNCHECKED = """
import numpy as np, pipeline.store.shard_file as shard
class Any(str):
    __ne__ = lambda self, other: False
shard.sha256_of_file = lambda path: Any()
shard.Shard.read = lambda self, rows: np.asarray(self._map()[rows])
"""
IGNORES_A_FIELD = """
import pipeline.extraction.fill_store as fill_store, pipeline.extraction.spec_check as spec_check
compare = fill_store.compare
spec_check.compare = lambda *args, **kwargs: [found for found in compare(*args, **kwargs) if found.field != "resize"]
fill_store.compare = spec_check.compare
"""
PAINTS_BAD_IMAGES_GREY = """
import numpy as np, pipeline.extraction.decode_ahead as decoding
real = decoding._decode
def decode(task, read, row_of):
    done = real(task, read, row_of)
    grey = np.full((16, 16, 3), 127, np.float32)
    return done if done.pixels is not None else decoding.Decoded(task, grey, decoding.Status.OK)
decoding._decode = decode
"""
FORGETS_WHAT_IT_WROTE = """
from pipeline.store import StoreWriter
StoreWriter.adopt = lambda self: 0
"""
TRUSTS_THE_INT8_MODEL = """
import pipeline.conv_base.int8 as int8
int8.read_model = lambda path, spec: path.read_bytes()
"""
SYNCS_NO_FILES = """
import os, stat, pipeline.files.durable as durable
class Os:
    def __getattr__(self, name):
        return getattr(os, name)
    def fsync(self, descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.fsync(descriptor)
durable.os = Os()
"""
SYNCS_NO_DIRECTORIES = """
import pipeline.files.durable as durable
durable.sync_directory = lambda directory: None
"""
SHIFTS_ROWS = """
import numpy as np, pipeline.store.write_store as writing
from dataclasses import replace
real = writing.build_shard
def build(content, *args):
    return real(replace(content, features=np.roll(content.features, 1, axis=0)), *args)
writing.build_shard = build
"""


@pytest.mark.parametrize(
    ("parts", "breaking", "complaints"),
    [
        pytest.param(
            "a",
            WRITES_IN_PLACE + HAS_NO_LOCK + FORGETS_WHAT_IT_WROTE,
            ["cannot be read", "were found to refuse a second writer", "rows where"],
            id="writes in place, has no lock, forgets what it wrote",
        ),
        pytest.param("b", PRINTS_TWO_LINES, ["sorry"], id="prints two lines"),
        pytest.param("c", READS_UNCHECKED, ["read as something else"], id="reads unchecked"),
        pytest.param("d", IGNORES_A_FIELD, ["resize: no error"], id="ignores a field"),
        pytest.param("g", SYNCS_NO_FILES, ["was acknowledged and is damaged"], id="syncs no files"),
        pytest.param("g", SYNCS_NO_DIRECTORIES, ["was acknowledged and is missing"], id="syncs no directories"),
        pytest.param("e", PAINTS_BAD_IMAGES_GREY, ["status 1, not 2"], id="paints bad images grey"),
    ],
)
def test_a_broken_promise_is_noticed(tmp_path, parts, breaking, complaints):
    counts = ["--operations", "8", "--flips", "60", "--states", "300"]
    status, found, said = torture(tmp_path, "--parts", parts, *counts, breaking=breaking)
    broken = "\n".join(text for part in found for text in part["broken"])
    assert status == 1 and all(complaint in broken for complaint in complaints), said


def test_an_int8_conv_base_that_is_read_unchecked_is_noticed(tmp_path):
    options = ["--precision", "int8", "--parts", "c", "--flips", "60"]
    status, (flips,), said = torture(tmp_path, *options, breaking=TRUSTS_THE_INT8_MODEL)
    assert status == 1 and "of conv_base.tflite: read as something else" in " ".join(flips["broken"]), said


def test_a_wrong_reference_store_ends_the_torture_tests(tmp_path):
    status, found, said = torture(tmp_path, "--parts", "d", breaking=SHIFTS_ROWS)
    assert status == 1 and found == [] and "the run to compare with is wrong itself" in said


def test_fault_01_nothing_of_the_next_shard_is_computed_before_one_is_written(
    photos, tmp_path, fake_conv_base, monkeypatch
):
    real, computed = StoreWriter.put_shard, []

    def put_shard(writer, content, bad):
        time.sleep(0.2)  # time in which a thread could compute the next shard
        computed.append((content.stop, fake_conv_base.seen))
        real(writer, content, bad)

    monkeypatch.setattr("pipeline.extraction.plan.MAX_ROWS", 8)
    monkeypatch.setattr(StoreWriter, "put_shard", put_shard)
    extract_features(scan_images(photos), tmp_path / "cache", ConvBaseSpec(size=8), batch_size=4)
    assert computed == [(8, 8), (16, 16), (20, 20)]
