"""The kernels on a real Ray that the test starts: the same bytes as the local runner."""

import os
import sys

import msgspec
import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("ray")

from tests.engines.scaling_case import local_result, run_with, write_corpus
from verify.errors import Refused
from verify.scaling.runners import runner_of

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning"),
]


@pytest.fixture(autouse=True)
def this_python(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


def test_ray_says_what_the_local_runner_says(tmp_path):
    job = write_corpus(tmp_path, 9_000_000)
    assert len(job.units) > 2
    got = run_with(runner_of("ray"), job, tmp_path)
    assert msgspec.json.encode(got) == msgspec.json.encode(local_result(job, tmp_path))


def test_a_key_that_is_not_the_one_of_the_start_ends_the_work(tmp_path):
    job = write_corpus(tmp_path, 10_000)
    with pytest.raises(Refused, match="not the key it was when this began"):
        run_with(runner_of("ray"), job, tmp_path, key_id="0" * 64)
