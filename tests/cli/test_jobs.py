"""`verify` in parts and `merge`: the bytes of a corpus in memory, whatever happens on the way."""

import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest

pytest.importorskip("pyarrow")

import pyarrow as pa
import pyarrow.parquet as pq

from tests.cli.conftest import RADIOLABEL, radiolabel
from tests.conftest import make_epoch
from watermark.keyfile import write_key


@pytest.fixture
def corpus(tmp_path, prose_ids):
    """a.jsonl and a.parquet with the same ids, and fleet.key."""
    rows = [prose_ids[i : i + 60].tolist() for i in range(0, 30_000, 60)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"token_ids": row}) + "\n" for row in rows))
    pq.write_table(
        pa.table({"token_ids": pa.array(rows, pa.list_(pa.int32()))}), tmp_path / "a.parquet", row_group_size=50
    )
    write_key(make_epoch(1).value_key("fleet"), tmp_path / "fleet.key")
    return tmp_path


def verify(folder, *arguments, key=True, **options):
    given = ("--key", "fleet.key") if key else ()
    return radiolabel("verify", *given, *arguments, cwd=folder, env=environment(), **options)


def environment():
    return os.environ | {"PYTHONPATH": os.getcwd()}


def without_input(out):
    found = json.loads(out)
    del found["options"]["sha256"]["input"]
    return found


def test_the_same_bytes_as_in_memory(corpus):
    code, want, err = verify(corpus, "a.jsonl", "--decoys", "0")
    assert (code, err) == (0, "")
    for jobs in ("1", "2"):
        assert verify(corpus, "a.jsonl", "--jobs", jobs) == (0, want, "")
    for arguments in (("a.parquet",), ("a.parquet", "--jobs", "2"), ("*.parquet", "--memory", "1G"),
                      ("a.parquet", "./a.parquet", "--work", "w")):  # fmt: skip
        code, out, err = verify(corpus, *arguments)
        assert (code, err) == (0, "")
        assert without_input(out) == without_input(want)


def test_texts_and_prompts_are_counted_as_in_memory(marked, tokenizer_file, tmp_path):
    arguments = ("verify", "--key", marked / "fleet.key", "--tokenizer", tokenizer_file)
    code, want, err = radiolabel(*arguments, marked / "marked.jsonl", "--decoys", "0")
    assert (code, err) == (0, "")
    assert radiolabel(*arguments, marked / "marked.jsonl", "--jobs", "2", "--memory", "3G") == (0, want, "")
    records = [json.loads(line) for line in (marked / "marked.jsonl").read_text().splitlines()]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "a.parquet", row_group_size=5)
    code, out, err = radiolabel(*arguments, tmp_path / "a.parquet", "--exit-code")
    assert (code, err) == (0, "")
    assert without_input(out) == without_input(want)
    assert json.loads(out)["found"]
    copied = [{"response": r["response"], "prompt": f"Repeat this: {r['response']}"} for r in records]
    pq.write_table(pa.Table.from_pylist(copied), tmp_path / "b.parquet")
    code, out, err = radiolabel(*arguments, tmp_path / "b.parquet")
    assert (code, out) == (3, "")
    assert "only 0 of" in err


def test_shards_and_merge_say_what_one_run_says(corpus):
    large(corpus)
    want = verify(corpus, "large.parquet", "a.parquet")[1]
    for shard in ("2/3", "1/3", "3/3"):
        code, out, err = radiolabel("merge", "w", "--key", "fleet.key", cwd=corpus, env=environment())
        assert (code, out) == ((2, "") if shard == "2/3" else (3, ""))
        code, out, err = verify(
            corpus, "large.parquet", "a.parquet", "--shard", shard, "--work", "w", "--width", "2", key=False
        )
        assert (code, out) == (0, "")
        assert f"shard {shard} is done" in err
    code, out, err = radiolabel("merge", "w", "--key", "fleet.key", "--jobs", "2", cwd=corpus, env=environment())
    assert (code, out, err) == (0, want, "")
    assert (
        "log10 p"
        in radiolabel("merge", "w", "--key", "fleet.key", "--format", "text", cwd=corpus, env=environment())[1]
    )
    write_key(make_epoch(2).value_key("fleet"), corpus / "other.key")
    code, out, _ = radiolabel("merge", "w", "--key", "other.key", "--exit-code", cwd=corpus, env=environment())
    assert code == 1
    assert json.loads(out)["key_id"] != json.loads(want)["key_id"]
    write_key(make_epoch(2, width=3).value_key("fleet"), corpus / "wide.key")
    code, _, err = radiolabel("merge", "w", "--key", "wide.key", cwd=corpus, env=environment())
    assert code == 3
    assert "read with windows of width 2, and the key is for 3" in err


def large(folder):
    """A corpus of several units."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 30_000, 9_000_000).astype(np.int32)
    lists = pa.ListArray.from_arrays(np.arange(0, ids.size + 1, 200, dtype=np.int32), pa.array(ids))
    pq.write_table(pa.table({"token_ids": lists}), folder / "large.parquet", row_group_size=4000)


def processes_below(pid):
    """Every process under a process, from /proc."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry)] = int(fields[1])
    found, todo = set(), {pid}
    while todo:
        todo = {child for child, parent in parents.items() if parent in todo}
        found |= todo
    return found


def test_killed_at_any_moment_and_run_again(corpus):
    """kill -9 at growing delays: finished units stay, no process is left, and the bytes are those of one run."""
    large(corpus)
    arguments = ("large.parquet", "--jobs", "2", "--work", "w")
    want = verify(corpus, "large.parquet", "--jobs", "2", "--work", "other")[1]
    done, killed, delay = {}, 0, 1.5
    while True:
        running = subprocess.Popen(
            [*RADIOLABEL, "verify", "--key", "fleet.key", *arguments],
            cwd=corpus, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            out, err = running.communicate(timeout=delay)
            break
        except subprocess.TimeoutExpired:
            below = processes_below(running.pid)
            running.send_signal(signal.SIGKILL)
            running.wait()
            running.stdout.close()  # not read to its end: a process that is left would hold it open
            running.stderr.close()
            killed += 1
            deadline = time.monotonic() + 20
            while any(os.path.exists(f"/proc/{pid}") for pid in below) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not any(os.path.exists(f"/proc/{pid}") for pid in below)
        units = {p.name: p.stat().st_mtime_ns for p in (corpus / "w").glob("units/[0-9]*.json")}
        assert all(units[name] == at for name, at in done.items())
        done, delay = units, delay * 1.5
    assert (running.returncode, err) == (0, "")
    assert out == want
    assert killed
    units = {p.name: p.stat().st_mtime_ns for p in (corpus / "w").glob("units/[0-9]*.json")}
    assert all(units[name] == at for name, at in done.items())
    named = [part[0] for p in (corpus / "w").glob("units/*.json") for part in json.loads(p.read_text())["parts"]]
    assert sorted(named) == sorted(p.name for p in (corpus / "w" / "pairs").iterdir())


def test_a_second_run_in_one_folder_is_refused(corpus):
    large(corpus)
    arguments = [*RADIOLABEL, "verify", "--key", "fleet.key", "large.parquet", "--work", "w"]
    first = subprocess.Popen(arguments, cwd=corpus, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not (corpus / "w" / "job.json").exists():
        assert first.poll() is None
        time.sleep(0.05)
    code, out, err = verify(corpus, "large.parquet", "--work", "w")
    assert (code, out) == (3, "")
    assert "another radiolabel works in this folder" in err
    assert first.communicate()[1] == b""
    assert first.returncode == 0


def test_a_changed_input_is_refused_and_the_error_of_a_row_names_it(corpus):
    assert verify(corpus, "a.parquet", "--work", "w")[0] == 0
    os.utime(corpus / "a.parquet")
    code, out, err = verify(corpus, "a.parquet", "--work", "w")
    assert (code, out) == (2, "")
    assert "a.parquet has changed since that work began" in err
    rows = [[1, 2, 3]] * 9 + [[4, 5, -7]]
    table = pa.table({"token_ids": pa.array(rows, pa.list_(pa.int64()))})
    pq.write_table(table, corpus / "bad.parquet", row_group_size=4)
    code, out, err = verify(corpus, "*.parquet", "--jobs", "2")
    assert (code, out) == (2, "")
    assert "bad.parquet, row group 2, row 1: token_ids[2] is -7, expected an integer from 0 to 1048575" in err


def test_the_runner_must_be_there(corpus):
    pytest.importorskip("pyarrow")
    for runner, package in (("spark", "pyspark"), ("ray", "ray")):
        try:
            __import__(package)
        except ImportError:
            code, out, err = verify(corpus, "a.parquet", "--runner", runner)
            assert (code, out) == (2, "")
            assert f"the package {package} is not installed" in err
            assert f"pip install 'radiolabel[{runner}]'" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a.jsonl", "--jobs", "2", "--decoys", "9"), "--decoys needs one INPUT"),
        (("a.jsonl", "--jobs", "2", "--weights", "counts"), "--weights counts needs one INPUT"),
        (("a.jsonl", "a.parquet", "--prompts", "p"), "--prompts needs one INPUT"),
        (("a.jsonl", "--jobs", "2", "--served", "p"), "--served needs one INPUT"),
        (("a.jsonl", "--shard", "1/2"), "--shard needs --work"),
        (("a.jsonl", "--shard", "3/2", "--work", "w"), "not of the form I/N"),
        (("a.jsonl", "--shard", "x", "--work", "w"), "not of the form I/N"),
        (("a.jsonl", "--jobs", "2", "--width", "2"), "expected --key, or --width with --shard"),
        (("a.jsonl", "--jobs", "8", "--memory", "1G"), "1024M of memory do not do for 8 jobs"),
        (("a.jsonl", "--jobs", "1", "--memory", "much"), "expected a size such as 2G"),
        (("a.jsonl", "--runner", "ray", "--work", "w"), "has its own work folders"),
        (("-", "--jobs", "2"), "'-' cannot be read in parts"),
        (("none-*.parquet",), "no file matches the pattern"),
    ],
)
def test_options_that_do_not_go_together(corpus, arguments, said):
    code, out, err = verify(corpus, *arguments)
    assert (code, out) == (2, "")
    assert said in err


def test_a_key_is_needed(corpus):
    code, out, err = verify(corpus, "a.jsonl", key=False)
    assert (code, out) == (2, "")
    assert "missing option '--key'" in err
    code, _, err = verify(corpus, "a.jsonl", "--jobs", "1", key=False)
    assert code == 2
    assert "expected --key, or --width with --shard" in err


def test_nobody_has_to_know_where_a_folder_is(corpus):
    """Without --work a folder is made, and is gone afterwards."""
    (corpus / "tmp").mkdir()
    done = subprocess.run(
        [*RADIOLABEL, "verify", "--key", "fleet.key", "a.parquet", "--jobs", "2"],
        cwd=corpus, env=environment() | {"TMPDIR": str(corpus / "tmp")}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["n_seen"] == 30_000
    assert list((corpus / "tmp").iterdir()) == []
