import numpy as np
import pytest

from tests.conftest import make_epoch
from watermark.errors import SelfTestError
from watermark.prf import Prf
from watermark.schemes.gumbel import Gumbel
from watermark.serving.self_test import self_test


@pytest.mark.parametrize("scheme", ["gumbel", "tournament", "tournament:layers=1", "greenlist", "greenlist:gamma=0.5"])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_good_keys_pass(scheme, width):
    for label in range(3):
        self_test(make_epoch(label, scheme=scheme, width=width))


@pytest.mark.parametrize(
    "shares", ["leaf=1", "fleet=1", "account=1", "fleet=0.3,cohort=0.3,account=0.3,leaf=0.1", "fleet=0.001,leaf=0.999"]
)
def test_any_shares_pass(shares):
    self_test(make_epoch(shares=shares))


def test_a_mark_too_weak_to_prove_anything_is_refused():
    with pytest.raises(SelfTestError, match=r"not found in .* pairs"):
        self_test(make_epoch(scheme="greenlist:delta=0"))


def broken(name, monkeypatch):
    """Installations that would serve answers whose mark nobody finds, or that anybody finds."""
    words = Prf.words
    if name == "another cipher":
        monkeypatch.setattr(Prf, "words", lambda self, blocks: words(self, blocks) ^ np.uint64(1))
    elif name == "no draw":
        monkeypatch.setattr(Gumbel, "draw_rows", lambda self, logits, starts, words, leaf: starts)
    elif name == "the likeliest token":
        monkeypatch.setattr("watermark.schemes.gumbel.gumbel_noise", lambda r0: np.zeros(len(r0)))
    elif name == "scores that are always high":
        monkeypatch.setattr(Gumbel, "score", lambda self, words: np.full(len(words), 1 << 18))
    elif name == "the second word":
        draw = Gumbel.draw_rows
        monkeypatch.setattr(
            Gumbel,
            "draw_rows",
            lambda self, logits, starts, words, leaf: draw(self, logits, starts, words[:, ::-1], leaf),
        )
    elif name == "windows reversed":
        monkeypatch.setattr(
            "watermark.sampling.Job.window", property(lambda job: tuple(job.response.tracker.tokens[-2:][::-1]))
        )


BROKEN = ["another cipher", "no draw", "the likeliest token", "scores that are always high", "the second word"]


@pytest.mark.parametrize("name", [*BROKEN, "windows reversed"])
def test_a_broken_installation_is_refused(name, monkeypatch):
    key = make_epoch(shares="fleet=0.9,leaf=0.1")
    self_test(key)
    broken(name, monkeypatch)
    with pytest.raises(SelfTestError, match="self-test of key epoch/test: ") as caught:
        self_test(key)
    assert key.secret.reveal().hex() not in str(caught.value)


def test_a_selector_that_is_not_read_is_refused(monkeypatch):
    key = make_epoch(shares="cohort=0.5,account=0.5")
    monkeypatch.setattr("watermark.sampling.select", lambda prf, shares, windows: np.full(len(windows), 1))
    with pytest.raises(SelfTestError, match="the mark of channel account is not found"):
        self_test(key)
