"""What is handed over derives nothing that was not: evidence, policy, inputs, and one value key or the node of coins.

The functions are written again here from docs/spec/key-file.md. Whoever holds the disclosed files has nothing else.
"""

import base64
import itertools
import json

import numpy as np
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from scipy.special import gammaincc, ndtr

from tests.cli.conftest import radiolabel
from tests.conftest import make_epoch
from watermark.keyfile import read_key
from watermark.prf import Prf, pack_blocks

SHARES = "fleet=750000,account=125000,leaf=125000"
REQUESTS = [f"p{i}-{n}" for i in range(6) for n in (1, 2)]  # of the marked answers
NAMES = ("", "q4", "0", "1", "2", "3", *REQUESTS)
ACCOUNTS = [f"account/{i}" for i in range(4)]
KINDS = ("epoch", "fleet", "cohort", "account", "leaf", "selector", "coin")
PATHS = ("", "epoch/q4", "epoch/q4/coin", "epoch/q4/fleet", *(f"epoch/q4/{name}" for name in ACCOUNTS))


def hkdf(ikm, length, *parts):
    raw = [part.encode() if isinstance(part, str) else part for part in parts]
    info = b"".join(len(part).to_bytes(2, "little") + part for part in raw)
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(ikm)


def child(node, kind, name="", context=b""):
    return hkdf(node, 32, "radiolabel/v1/child", kind, name, context)


def aes(node, purpose, width, shares):
    return hkdf(node, 16, "radiolabel/v1/aes", "aes128-v1", purpose, str(width), shares)


def value_id(value, selector, path):
    return hkdf(value + selector, 32, "radiolabel/v1/id", path, "aes128-v1", "gumbel", "2", SHARES)


def tree(master, beacon):
    """Every secret of the epoch by path, nodes and AES keys."""
    epoch = child(master, "epoch", "q4", beacon)
    secrets = {"master": master, "epoch": epoch, "coin": child(epoch, "coin")}
    secrets["selector node"] = child(epoch, "selector")
    secrets["selector"] = aes(secrets["selector node"], "selector", 2, SHARES)
    slots = {"fleet": child(epoch, "fleet")} | {name: child(epoch, "account", name[-1]) for name in ACCOUNTS}
    for name, node in slots.items():
        secrets |= {f"{name} node": node, name: aes(node, "gumbel", 2, SHARES)}
    for request in REQUESTS:
        node = child(epoch, "leaf", request)
        secrets |= {f"leaf/{request} node": node, f"leaf/{request}": aes(node, "leaf", 1, "")}
    return secrets


@pytest.fixture(scope="module")
def secrets(provider):
    """All of the case's."""
    master = read_key(provider.file("master.key")).secret.reveal()
    found = tree(master, bytes.fromhex(provider.beacon))
    fleet = read_key(provider.file("fleet.key"))  # the spec, written again, is what the program does
    assert (found["fleet"], found["selector"]) == (fleet.value.reveal(), fleet.selector.reveal())
    assert found["coin"] == read_key(provider.file("coin.key")).secret.reveal()
    return found


DISCLOSED = {
    "rival": (("fleet.key",), {"fleet", "selector"}),
    "twin": (("coin.key",), {"coin"}),
}


def handed_over(liar, keys):
    """Everything a checker gets, decoded in every way in which something may be inside."""
    predicate = liar.statement()["predicate"]
    names = [liar.case.evidence, "policy.json", *keys, *predicate["inputs"].values()]
    names += [other["file"] for other in predicate["others"]]
    found = [liar.case.path(name).read_bytes() for name in names]
    for name in [liar.case.evidence, *(other["file"] for other in predicate["others"])]:
        statement = liar.with_evidence(name).statement()
        found += [json.dumps(statement).encode(), *_tokens(statement)]
    return found


def _tokens(value):
    if isinstance(value, dict):
        yield from (base64.b64decode(text) for text in value.get("timestamps", ()))
        yield from (token for inner in value.values() for token in _tokens(inner))
    elif isinstance(value, list):
        yield from (token for inner in value for token in _tokens(inner))


def spellings(secret):
    """A secret as bytes either way round, in hexadecimal, and in base64 wherever it begins."""
    yield from (secret, secret[::-1], secret.hex().encode(), secret.hex().upper().encode())
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + secret)
        yield text[4 if shift else 0 : -4]


@pytest.mark.parametrize("name", DISCLOSED)
def test_no_other_secret_stands_in_what_is_handed_over(request, secrets, name):
    liar, (keys, disclosed) = request.getfixturevalue(name), DISCLOSED[name]
    hay = handed_over(liar, keys)
    signer = liar.case.path("signer.pem").read_bytes().splitlines()[1]
    hidden = {label: secret for label, secret in secrets.items() if label not in disclosed}
    hidden["signer"] = base64.b64decode(signer)[-32:]
    for label, secret in hidden.items():
        assert not any(text in file for text in spellings(secret) for file in hay), label
    for label in disclosed:  # the search finds what is there
        assert any(text in file for text in spellings(secrets[label]) for file in hay), label
    # The file alone holds none at all.
    alone = handed_over(liar, ())
    assert not any(text in file for label in disclosed for text in spellings(secrets[label]) for file in alone)


def reachable(known, beacon):
    """All that the functions of the page give from some secrets, two levels down, with every label and name."""
    nodes = set(known) | {a + b for a, b in itertools.permutations(known, 2)}
    below = {child(n, kind, name, c) for n in nodes for kind in KINDS for name in NAMES for c in (b"", beacon)}
    found = set(below)
    for node in nodes | below:
        for purpose, width, shares in (("gumbel", 2, SHARES), ("selector", 2, SHARES), ("leaf", 1, "")):
            found.add(aes(node, purpose, width, shares))
        found.add(hkdf(node, 32, "radiolabel/v1/id", ""))
        found |= {hkdf(node, 32, "radiolabel/v1/id", path, "aes128-v1", "gumbel", "2", SHARES) for path in PATHS}
        found.add(hkdf(node, 32, "radiolabel/v1/id", "epoch/q4/coin"))
    return found


@pytest.mark.parametrize("name", DISCLOSED)
def test_nothing_else_is_derived_from_what_is_handed_over(provider, secrets, name):
    disclosed = DISCLOSED[name][1]
    others = {secret for label, secret in secrets.items() if label not in disclosed}
    ids = {"epoch": provider.epoch.id, "coin": provider.epoch.coin_key().id}
    for label in ("fleet", *ACCOUNTS):
        ids[label] = value_id(secrets[label], secrets["selector"], f"epoch/q4/{label}").hex()
    beacon = bytes.fromhex(provider.beacon)
    found = reachable({secrets[label] for label in disclosed}, beacon)
    assert not found & others
    own = {"fleet", "coin"} & disclosed
    assert {label for label, id_ in ids.items() if bytes.fromhex(id_) in found} == own
    # The same search from the epoch's node reaches every leaf: it is the right search.
    assert reachable({secrets["epoch"]}, beacon) >= {
        s for label, s in secrets.items() if label not in ("master", "epoch")
    }


def chi_square(words, others):
    """p of the bytes of the xor under the uniform law; 255 degrees of freedom."""
    counts = np.bincount((words ^ others).view(np.uint8), minlength=256)
    expected = counts.sum() / 256
    return gammaincc(255 / 2, float(((counts - expected) ** 2 / expected).sum()) / 2)


def correlation(words, others):
    """Two-sided p of the correlation of n uniforms, nearly normal with variance 1 / n."""
    x, y = (w.astype(np.float64) for w in (words, others))
    z = abs(np.corrcoef(x, y)[0, 1]) * np.sqrt(len(x))
    return 2 * ndtr(-z)


# 6 comparisons with 2 tests: a false alarm has probability 1.2e-5, and the seed is fixed.
LEVEL = 1e-6
N = 10**6


@pytest.fixture(scope="module")
def words():
    """r0 of the same blocks under every kind of key of one epoch, the disclosed one first."""
    epoch, random = make_epoch(11, shares="fleet=0.5,account=0.4,leaf=0.1"), np.random.default_rng(11)
    windows = random.integers(0, 50_000, size=(N, 2), dtype=np.uint32)
    blocks = pack_blocks(windows, random.integers(0, 50_000, size=N, dtype=np.uint32))
    keys = [epoch.value_key("fleet"), *(epoch.value_key("account", str(i)) for i in range(3))]
    other = make_epoch(12).value_key("fleet")
    prfs = [*(Prf(key.value) for key in keys), Prf(keys[0].selector), epoch.leaf_prf("r1"), Prf(other.value)]
    return [prf.words(blocks)[:, 0].copy() for prf in prfs]


def test_other_leaves_are_independent_of_the_disclosed_one(words):
    for others in words[1:]:
        assert chi_square(words[0], others) > LEVEL
        assert correlation(words[0], others) > LEVEL


def test_a_broken_derivation_is_seen(words):
    same, shifted = words[0].copy(), words[0] ^ np.uint64(0x5A)
    biased = np.where(np.arange(N) % 100 == 0, words[0], words[1])  # one word in a hundred is the disclosed key's
    for broken in (same, shifted, biased):
        assert chi_square(words[0], broken) < LEVEL
        assert correlation(words[0], broken) < LEVEL


@pytest.mark.parametrize("name", DISCLOSED)
def test_what_a_check_prints_holds_no_key(request, secrets, name):
    liar, (keys, _) = request.getfixturevalue(name), DISCLOSED[name]
    path = liar.case.path
    for output in ("json", "text"):
        code, out, err = radiolabel(
            *("check", path(liar.case.evidence), "--policy", path("policy.json"), "--inputs", liar.case.folder),
            *("--key", path(keys[0]), "--format", output),
        )
        assert code == 0, err
        assert not any(text in (out + err).encode() for secret in secrets.values() for text in spellings(secret))
