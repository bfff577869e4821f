"""Spark: `mapInArrow` twice with a shuffle between. Spark sends no usage statistics; its web page is not opened."""

from __future__ import annotations

import msgspec

from verify.scaling.counts import Counts, Sums
from verify.scaling.job import Job
from verify.scaling.kernels import added
from verify.scaling.runners.engine import PARTITIONS, Kernels, engine_errors


@engine_errors("Spark")
def run(job: Job, *, jobs: int, **known: object) -> tuple[Counts, Sums]:
    """Count and score a job, in the Spark session that there is, or in a local one of `jobs` cores.

    Args:
        job: what to count.
        jobs: cores of a local session.
        known: see `Kernels`.
    """
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession()
    settings = {"spark.ui.enabled": "false", "spark.sql.execution.arrow.maxRecordsPerBatch": "128"}
    session = active or SparkSession.builder.master(f"local[{jobs}]").config(map=settings).getOrCreate()
    try:
        kernels = Kernels(job=msgspec.json.encode(job), **known)  # type: ignore[arg-type]
        units = session.createDataFrame(kernels.units()).repartition(len(job.units))
        rows = units.mapInArrow(kernels.pairs, "bucket int, pairs binary, counts binary")
        ordered = rows.repartition(PARTITIONS, "bucket").sortWithinPartitions("bucket")
        sums = ordered.mapInArrow(kernels.scores, "bucket int, sums binary, counts binary")
        return added(sums.toArrow().to_batches())
    finally:
        if active is None:
            session.stop()
