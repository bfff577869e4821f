"""The suite: one short file a benchmark in `cases/`, and what they share.

A benchmark is a module of `cases/` with `NAME`, `ABOUT`, `NEEDS` and `run(profile, context)`; a new file is found by
itself. `python -m benchmarks` lists and runs them and makes the report; docs/benchmarks.md says the rest.
"""
