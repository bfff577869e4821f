"""Ray Data: `map_batches`, a sort by bucket, and groups of one bucket. Ray's usage statistics and dashboard are off."""

from __future__ import annotations

import logging
import os

import msgspec

from verify.scaling.counts import Counts, Sums
from verify.scaling.job import Job
from verify.scaling.kernels import PAIR_ROWS, SUM_ROWS, added
from verify.scaling.runners.engine import Kernels, by_table, engine_errors


@engine_errors("Ray")
def run(job: Job, *, jobs: int, **known: object) -> tuple[Counts, Sums]:
    """Count and score a job, in the Ray instance that there is, or in a local one of `jobs` cores.

    Args:
        job: what to count.
        jobs: cores of a local instance.
        known: see `Kernels`.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    logging.getLogger("ray").setLevel(logging.WARNING)
    started = not ray.is_initialized()
    if started:
        ray.init(num_cpus=jobs, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        kernels = Kernels(job=msgspec.json.encode(job), **known)  # type: ignore[arg-type]
        units = ray.data.from_arrow(kernels.units()).repartition(len(job.units))
        rows = units.map_batches(by_table(kernels.pairs, PAIR_ROWS), batch_format="pyarrow", batch_size=1)
        sums = rows.groupby("bucket").map_groups(by_table(kernels.scores, SUM_ROWS), batch_format="pyarrow")
        return added(batch for table in sums.iter_batches(batch_format="pyarrow") for batch in table.to_batches())
    finally:
        if started:
            ray.shutdown()
