import numpy as np
import pytest

from tests.conftest import make_epoch
from watermark.channels import CHANNELS, Shares, select
from watermark.errors import KeyFileError


def test_share_of_each_channel_is_as_asked():
    epoch = make_epoch(shares="fleet=0.5,cohort=0.2,account=0.2,leaf=0.1")
    windows = np.random.default_rng(0).integers(0, 50_000, (200_000, 2), dtype=np.uint32)
    counts = np.bincount(select(epoch.selector_prf(), epoch.deployment.shares, windows), minlength=4)
    # Five standard deviations of a binomial share.
    assert np.abs(counts / 200_000 - [0.5, 0.2, 0.2, 0.1]).max() < 5 * 0.5 / 200_000**0.5


@pytest.mark.parametrize("name", CHANNELS)
def test_a_whole_share_takes_every_window(name):
    epoch = make_epoch(shares=f"{name}=1")
    windows = np.random.default_rng(0).integers(0, 50_000, (100_000, 2), dtype=np.uint32)
    assert (select(epoch.selector_prf(), epoch.deployment.shares, windows) == CHANNELS.index(name)).all()


def test_channel_depends_on_the_selector_and_the_window_alone():
    windows = np.random.default_rng(0).integers(0, 50_000, (1000, 2), dtype=np.uint32)
    one, two = (make_epoch(label, shares="fleet=0.5,leaf=0.5") for label in (1, 2))
    shares = one.deployment.shares
    assert (select(one.selector_prf(), shares, windows) == select(one.selector_prf(), shares, windows)).all()
    assert (select(one.selector_prf(), shares, windows) != select(two.selector_prf(), shares, windows)).any()


@pytest.mark.parametrize(
    "text", ["", "fleet", "fleet=0.5", "fleet=2", "fleet=nan,leaf=1", "fleet=1,fleet=0", "moon=1", "fleet=-1,leaf=2",
             "fleet=0.99999999,leaf=0.00000001", "fleet=1e400"]
)  # fmt: skip
def test_bad_shares_are_refused(text):
    with pytest.raises(KeyFileError):
        Shares.parse(text)


def test_canonical_string_has_a_fixed_order():
    assert Shares.parse("leaf=0.25, fleet=0.75").canonical() == "fleet=750000,leaf=250000"
