import numpy as np
import pytest

from tests.conftest import make_epoch
from watermark.errors import Error
from watermark.prf import Prf, pack_blocks, pack_constant
from watermark.sampling import Request, Sampler


def logits_for(step, rows=1, vocabulary=12, label=0):
    return np.random.default_rng([label, step]).normal(size=(rows, vocabulary)).astype(np.float32)


def run(sampler, request, steps=60, **kwargs):
    response = sampler.start(request)
    for step in range(steps):
        sampler.draw([response], logits_for(step, **kwargs))
    return response


def test_same_request_replays_and_another_request_differs():
    """Preemption and replay give the same tokens; the same prompt asked twice gives different answers."""
    epoch = make_epoch()
    one, again, other = (run(Sampler(epoch), Request(r)) for r in ("a", "a", "b"))
    assert one.tracker.tokens == again.tracker.tokens
    assert one.tracker.tokens != other.tracker.tokens


def test_no_global_generator_is_read():
    epoch = make_epoch()
    np.random.seed(1)
    one = run(Sampler(epoch), Request("a"))
    np.random.seed(2)
    assert run(Sampler(epoch), Request("a")).tracker.tokens == one.tracker.tokens


def test_a_row_does_not_depend_on_its_batch():
    epoch = make_epoch(shares="fleet=0.4,account=0.4,leaf=0.2")
    sampler = Sampler(epoch)
    requests = [Request(f"r{i}", account=str(i % 3)) for i in range(5)]
    together = [sampler.start(r) for r in requests]
    for step in range(40):
        sampler.draw(together, np.repeat(logits_for(step), 5, axis=0))
    for request, response in zip(requests, together, strict=True):
        assert run(Sampler(epoch), request, 40).tracker.tokens == response.tracker.tokens


def gumbel(r0):
    return -np.log(-np.log(((r0 >> np.uint64(12)).astype(float) + 0.5) / 2**52))


def keyed_values(scheme, logits, words, leaf):
    """The keyed draws of docs/spec/marking.md, section 2: the candidate with the largest of these."""
    if scheme == "gumbel":
        return logits + gumbel(words[:, 0])
    if scheme == "greenlist":
        return logits + 2.0 * (words[:, 0] < np.uint64(2**62)) + gumbel(leaf[:, 0])
    p = np.exp(logits) / np.exp(logits).sum()
    for layer in range(30):
        g = np.array([(int(r0) | int(r1) << 64) >> layer & 1 for r0, r1 in words])
        p = p * (1 + g - (p * g).sum())
    return np.log(np.maximum(p, 0)) + gumbel(leaf[:, 0])  # rounding may leave a zero slightly below


@pytest.mark.parametrize("scheme", ["gumbel", "tournament", "greenlist"])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_every_token_is_drawn_as_the_rules_say(width, scheme):
    """The rules of docs/spec/marking.md written out a second time, token by token."""
    epoch = make_epoch(scheme=scheme, width=width, shares="fleet=0.5,account=0.3,leaf=0.2")
    response = run(Sampler(epoch), Request("a", account="7"), 80)
    selector, leaf = epoch.selector_prf(), epoch.leaf_prf("a")
    prfs = {"fleet": Prf(epoch.value_key("fleet").value), "account": Prf(epoch.value_key("account", "7").value)}
    tokens, used, fates = [], set(), []
    candidates = np.arange(12, dtype=np.uint32)
    for step in range(80):
        window, logits = tuple(tokens[-width:]), logits_for(step)[0].astype(float)
        fate = "first_h" if len(tokens) < width else "repeated" if window in used else None
        if fate is None:
            block = pack_blocks(np.array([window], dtype=np.uint32), None)
            x = (int(selector.words(block)[0, 0]) & 0xFFFFFFFF) / 2**32
            fate = "fleet" if x < 0.5 else "account" if x < 0.8 else "leaf"
        own = leaf.words(pack_blocks(np.full((12, 1), step, dtype=np.uint32), candidates))
        values = logits + gumbel(own[:, 0])
        if fate in prfs:
            words = prfs[fate].words(pack_blocks(np.array([window] * 12, dtype=np.uint32), candidates))
            with np.errstate(divide="ignore"):
                values = keyed_values(scheme, logits, words, own)
        if len(tokens) >= width:
            used.add(window)
        tokens.append(int(np.argmax(values)))
        fates.append(fate)
    assert response.tracker.tokens == tokens
    assert response.counts == {fate: fates.count(fate) for fate in set(fates)}
    assert {"first_h", "fleet", "account", "leaf"} <= set(fates)
    assert "repeated" in fates or width == 3


def test_removed_tokens_are_never_drawn_and_do_not_change_the_others():
    epoch = make_epoch()
    response, whole = (Sampler(epoch).start(Request("a")) for _ in range(2))
    logits = logits_for(0)
    token = Sampler(epoch).draw([whole], logits)[0]
    keep = np.arange(12) % 2 == token % 2
    logits[0, ~keep] = -np.inf
    assert Sampler(epoch).draw([response], logits)[0] == token


@pytest.mark.parametrize(
    ("row", "message"),
    [([np.nan, 0.0], "NaN or"), ([np.inf, 0.0], "inf"), ([-np.inf, -np.inf], "no candidate")],
)
def test_broken_logits_are_refused(row, message):
    sampler = Sampler(make_epoch())
    with pytest.raises(Error, match=f"request 'a' hold .*{message}"):
        sampler.draw([sampler.start(Request("a"))], np.array([row], dtype=np.float32))


def test_a_channel_with_a_share_needs_its_slot():
    sampler = Sampler(make_epoch(shares="fleet=0.5,account=0.5"))
    with pytest.raises(Error, match="request 'a' names no account"):
        sampler.start(Request("a"))
    with pytest.raises(Error, match="cannot be part of a key path"):
        sampler.start(Request("a/b", account="1"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_logits_of_any_float_type(dtype):
    sampler = Sampler(make_epoch())
    assert sampler.draw([sampler.start(Request("a"))], np.zeros((1, 5), dtype=dtype))[0] in range(5)


@pytest.mark.parametrize("window", [(1,), (1, 2), (3, 2, 1), (1_048_575, 0)])
def test_blocks_of_one_window_are_the_general_blocks(window):
    tokens = np.array([0, 7, 65_536, 1_048_575], dtype=np.uint32)
    assert (pack_constant(window, tokens) == pack_blocks(np.array([window] * 4, dtype=np.uint32), tokens)).all()


@pytest.mark.parametrize("scheme", ["gumbel", "tournament", "greenlist"])
def test_chunks_of_candidates_do_not_change_the_draw(scheme, monkeypatch):
    def token():
        sampler = Sampler(make_epoch(scheme=scheme))
        response = sampler.start(Request("a"))
        return [int(sampler.draw([response], logits_for(step, vocabulary=1000))[0]) for step in range(30)]

    whole = token()
    monkeypatch.setattr("watermark.schemes.maxima.CHUNK_CANDIDATES", 37)
    assert token() == whole
