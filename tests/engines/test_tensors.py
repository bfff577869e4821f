import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.conftest import make_epoch  # noqa: E402
from watermark.engines.tensors import candidates, propose, survivors  # noqa: E402
from watermark.errors import Error  # noqa: E402
from watermark.sampling import Request, Sampler  # noqa: E402


def batch(generator, rows, vocabulary):
    logits = 3 * generator.normal(size=(rows, vocabulary))
    for row, share in zip(logits, np.resize([0.0, 0.2, 0.9, 0.99, 1.0], rows), strict=True):
        row[generator.random(vocabulary) < share] = -np.inf
        if (row == -np.inf).all():
            row[generator.integers(vocabulary)] = 1.0
    return logits


def samplers(rows, scheme="gumbel"):
    sampler = Sampler(make_epoch(scheme=scheme))
    return sampler, [sampler.start(Request(f"r{i}")) for i in range(rows)]


@pytest.mark.parametrize("scheme", ["gumbel", "tournament", "greenlist"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("vocabulary", [60, 6000])
def test_the_tokens_are_those_of_numpy(scheme, dtype, vocabulary):
    sampler, responses = samplers(10, scheme)
    generator = np.random.default_rng(0)
    for _ in range(12):
        logits = batch(generator, 10, vocabulary).astype(dtype)
        found = propose(sampler, responses, torch.from_numpy(logits))
        assert found == sampler.propose(responses, logits)
        assert found == sampler.propose_rows(responses, survivors(torch.from_numpy(logits).to(torch.float64)))
        for response, (token, fate) in zip(responses, found, strict=True):
            response.take(token, fate)


def test_bfloat16_is_drawn_as_the_same_numbers_in_float32():
    sampler, responses = samplers(10)
    logits = torch.from_numpy(batch(np.random.default_rng(0), 10, 500)).bfloat16()
    assert propose(sampler, responses, logits) == sampler.propose(responses, logits.float().numpy())


@pytest.mark.parametrize("vocabulary", [7, 8, 4001])
def test_what_is_found_on_a_device_is_what_numpy_finds(vocabulary):
    """The code for tensors that are not in this memory, run on ones that are."""
    logits = torch.from_numpy(batch(np.random.default_rng(0), 10, vocabulary))
    for mine, theirs in zip(survivors(logits), candidates(logits), strict=True):
        assert mine.count == theirs.count
        for one, other in zip(mine.compact(), theirs.compact(), strict=True):
            assert np.array_equal(one, other)
            assert one.dtype == other.dtype


def test_only_candidates_travel():
    logits = torch.full((2, 1000), -torch.inf)
    logits[0, [3, 9]] = torch.tensor([1.0, 2.0])
    logits[1, :900] = 0.0
    few, many = survivors(logits)
    assert (few.ids.tolist(), few.logits.tolist()) == ([3, 9], [1.0, 2.0])
    assert (many.ids, len(many.logits), many.count) == (None, 1000, 900)


def test_gradients_strides_and_views_do_not_matter():
    sampler, responses = samplers(3)
    logits = torch.randn(3, 80, generator=torch.Generator().manual_seed(0))
    expected = propose(sampler, responses, logits)
    wide = torch.zeros(3, 160)
    wide[:, ::2] = logits
    assert propose(sampler, responses, wide[:, ::2]) == expected
    assert propose(sampler, responses, logits.t().contiguous().t()) == expected
    assert propose(sampler, responses, logits.clone().requires_grad_()) == expected


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_broken_logits_are_refused(bad):
    sampler, responses = samplers(2)
    logits = torch.zeros(2, 50)
    logits[1, 4] = bad
    with pytest.raises(Error, match="request 'r1' hold NaN or"):
        propose(sampler, responses, logits)
    with pytest.raises(Error, match="request 'r1' hold NaN or"):
        sampler.propose_rows(responses, survivors(logits))
    logits[1] = -torch.inf
    for rows in (survivors(logits), candidates(logits)):
        with pytest.raises(Error, match="request 'r1' hold no candidate"):
            sampler.propose_rows(responses, rows)
    with pytest.raises(ValueError, match="do not go with logits of shape"):
        propose(sampler, responses, torch.zeros(3, 50))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_tokens_are_the_same_on_a_cuda_device(dtype):
    sampler, responses = samplers(10)
    logits = torch.from_numpy(batch(np.random.default_rng(0), 10, 5000)).to(getattr(torch, dtype))
    assert propose(sampler, responses, logits.cuda()) == propose(sampler, responses, logits)
