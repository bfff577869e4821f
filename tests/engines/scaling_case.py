"""A corpus of Parquet and JSONL files, and what the local runner says about it."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.conftest import make_epoch
from verify.scaling.folder import WorkFolder
from verify.scaling.job import Settings, plan_job
from verify.scaling.result import measured
from verify.scaling.runners import local
from verify.scaling.tasks import Worker
from watermark.keyfile import write_key


def write_corpus(folder, tokens, seed=0, document=256):
    """Two Parquet files and a JSONL file of Zipf ids."""
    rng = np.random.default_rng(seed)
    ids = np.minimum(rng.zipf(1.2, tokens // document * document), 49_152).astype(np.int32) - 1
    offsets = np.arange(0, ids.size + 1, document, dtype=np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids))
    half = len(lists) // 2
    for name, part in (("a", lists[:half]), ("b", lists[half:])):
        pq.write_table(pa.table({"token_ids": part}), folder / f"{name}.parquet", row_group_size=4096)
    with open(folder / "c.jsonl", "w") as file:
        for _ in range(50):
            file.write(json.dumps({"token_ids": rng.integers(0, 4096, 100).tolist()}) + "\n")
    write_key(make_epoch(1).value_key("fleet"), folder / "fleet.key")
    names = (str(folder / "*.parquet"), str(folder / "c.jsonl"))
    settings = Settings(
        width=2, input_format="auto", skip_repeated=True, trust_ids=False, ids_alone=True, tokenizer=None
    )
    return plan_job(names, settings)


def run_with(runner, job, folder, **known):
    """What a runner measures."""
    key = make_epoch(1).value_key("fleet")
    known = {
        "tokenizer_file": None,
        "key_file": str(folder / "fleet.key"),
        "key_id": key.id,
        "most_pairs": 1 << 20,
    } | known
    return measured(*runner(job, jobs=2, **known))


def local_result(job, folder):
    """What the local runner measures."""
    key = make_epoch(1).value_key("fleet")
    work = WorkFolder(str(folder / "work"))
    work.begin(job)
    worker = Worker(str(work.path), None, 1 << 20, str(folder / "fleet.key"), key.id)
    local.count(worker, lambda tasks: map(worker.do, tasks), advance=lambda what, more: None)
    return measured(*local.add(worker, lambda tasks: map(worker.do, tasks), advance=lambda what, more: None))
