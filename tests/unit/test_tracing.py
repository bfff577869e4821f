"""Tracing: every key on every text scores as `verify.scoring` says, the family is all of them, innocents stay out."""

from itertools import product
from math import log10

import numpy as np
import pytest

from verify.errors import Error, InputError, Refused
from verify.hypotheses.closed import log10_e, log10_p
from verify.hypotheses.multiplicity import e_bh, holm
from verify.records import Document
from verify.scoring import merge, score, summarize
from verify.tracing import scan as scanning
from verify.tracing.answer import conclude
from verify.tracing.keysets import KeySet, of_directory, of_epoch, read_slots
from verify.tracing.scan import scan
from verify.tracing.texts import Texts, corpus, one_by_one
from watermark.deployment import Deployment
from watermark.keyfile import write_key
from watermark.keys import EpochKey, MasterKey
from watermark.sampling import Request, Sampler
from watermark.secret import Secret
from watermark.windows import TokenBatch

VOCABULARY = 512
SHARES = "fleet=0.4,account=0.4,leaf=0.2"


def an_epoch(seed: int = 1, *, scheme: str = "gumbel", width: int = 2, name: str = "e") -> EpochKey:
    deployment = Deployment.parse(scheme=scheme, width=width, shares=SHARES)
    return MasterKey(Secret(np.random.default_rng(seed).bytes(32))).epoch(name, deployment=deployment)


def drawn(epoch: EpochKey, account: str, length: int, seed: int) -> np.ndarray:
    """An answer of a model that knows nothing but noise, marked for an account."""
    sampler, rng = Sampler(epoch), np.random.default_rng(seed)
    response = sampler.start(Request(f"r{account}-{seed}", account=account))
    tokens = [int(sampler.draw([response], rng.normal(size=(1, VOCABULARY)))[0]) for _ in range(length)]
    return np.array(tokens, dtype=np.uint32)


def texts_of(documents: list[np.ndarray], width: int = 2) -> Texts:
    named = [Document(name=f"d{i}", token_ids=d) for i, d in enumerate(documents)]
    return one_by_one(named, width, tokenizer=None, trust_ids=True)


def some_texts(seed: int = 3) -> list[np.ndarray]:
    """Documents of all lengths, among them empty ones and one that says the same thing again and again."""
    rng = np.random.default_rng(seed)
    lengths = (0, 1, 2, 3, 40, 0, 500, 3, 0)
    return [*(rng.integers(0, VOCABULARY, n, dtype=np.uint32) for n in lengths), np.tile(np.arange(5, dtype="u4"), 99)]


@pytest.mark.parametrize("scheme", ["gumbel", "tournament:layers=30", "greenlist:delta=2,gamma=0.25"])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_every_total_is_that_of_the_scorer(scheme, width):
    epoch = an_epoch(scheme=scheme, width=width)
    documents, keys = some_texts(), of_epoch(epoch, "account", ("a", "b", "17"))
    hits = scan(texts_of(documents, width), keys)
    assert hits.n_tests == len(hits.total) == len(documents) * 3
    law = epoch.deployment.scheme.law
    for text, key, n, total, p, e in zip(
        hits.text, hits.key, hits.n, hits.total, hits.log10_p, hits.log10_e, strict=True
    ):
        pairs = summarize(TokenBatch.from_documents([documents[text]]), width).pairs
        expected = score(pairs, epoch.value_key("account", keys.slots[key]))
        assert (n, total) == (expected.n, expected.total)
        assert p == pytest.approx(log10_p(law, expected.n, expected.total) if expected.n else 0.0, rel=1e-9)
        assert e == pytest.approx(log10_e(law, expected.n, expected.total) if expected.n else 0.0, rel=1e-9)
    assert sorted(zip(hits.text, hits.key, strict=True)) == list(product(range(len(documents)), range(3)))


def test_texts_larger_than_a_chunk_and_many_small_ones_score_alike(monkeypatch):
    epoch, documents = an_epoch(), [*some_texts(), *some_texts(4)]
    keys, texts = of_epoch(epoch, "account", ("a", "b", "c", "d", "e")), texts_of(documents)
    whole = scan(texts, keys)
    monkeypatch.setattr(scanning, "CHUNK_PAIRS", 3)
    monkeypatch.setattr(scanning, "KEYS_AT_ONCE", 2)
    done: list[int] = []
    cut = scan(texts, keys, progress=done.append)
    assert done == [2, 2, 1]
    # Very many texts take fewer keys at once: the sums of all stay in memory.
    monkeypatch.setattr(scanning, "KEYS_AT_ONCE", 1024)
    monkeypatch.setattr(scanning, "TOTALS_AT_ONCE", 4 * len(documents) - 1)
    few = scan(texts, keys, progress=done.append)
    assert done[3:] == [3, 2]
    for name in ("text", "key", "n", "total"):
        assert np.array_equal(getattr(whole, name), getattr(cut, name))
        assert np.array_equal(getattr(whole, name), getattr(few, name))


def test_the_corpus_counts_a_pair_once():
    epoch, document = an_epoch(), some_texts()[6]
    documents = [Document(name=str(i), token_ids=document) for i in range(20)]
    texts = corpus(documents, 2, tokenizer=None, trust_ids=True)
    hits = scan(texts, of_epoch(epoch, "account", ("a",)))
    once = merge([summarize(TokenBatch.from_documents([document]), 2)], 2).pairs
    assert hits.total.tolist() == [score(once, epoch.value_key("account", "a")).total]
    assert texts.n_tokens.tolist() == [20 * len(document)]


def test_a_text_of_two_accounts_names_both_and_no_other():
    epoch = an_epoch()
    keys = of_epoch(epoch, "account", tuple(map(str, range(200))))
    mixed = np.concatenate([drawn(epoch, "7", 150, 1), drawn(epoch, "150", 150, 2)])
    innocent = np.random.default_rng(5).integers(0, VOCABULARY, 300, dtype=np.uint32)
    found = conclude([texts := texts_of([mixed, innocent])], [keys], [scan(texts, keys)])
    assert {found.row(at)["account"] for at in found.named(1e-3, by="holm")} == {"7", "150"}
    assert {found.row(at)["text"] for at in found.named(0.01, by="e-bh")} == {"d0"}
    assert found.n_tests == 400


def test_one_epochs_text_says_nothing_of_another_epoch():
    marked = texts_of([drawn(an_epoch(1), "7", 300, 1)])
    keys = of_epoch(an_epoch(2), "account", tuple(map(str, range(50))))
    assert conclude([marked], [keys], [scan(marked, keys)]).named(0.5, by="holm") == []


def test_names_are_given_at_most_as_often_as_the_level_says():
    """400 campaigns of 20 keys on one real-looking text and one of another account: the family-wise level is 0.2."""
    rng, campaigns, false = np.random.default_rng(7), 400, 0
    other = an_epoch(99)
    documents = [rng.zipf(1.3, 200).clip(max=VOCABULARY - 1).astype(np.uint32), drawn(other, "0", 100, 3)]
    texts = texts_of(documents)
    for campaign in range(campaigns):
        keys = of_epoch(an_epoch(1000 + campaign), "account", tuple(map(str, range(20))))
        false += bool(conclude([texts], [keys], [scan(texts, keys)]).named(0.2, by="holm"))
    # Binomial(400, 0.2): mean 80, standard deviation 8. Far above it breaks the level, far below it is no test.
    assert 80 - 4 * 8 < false < 80 + 4 * 8


def test_of_very_many_tests_only_small_p_are_kept_and_the_same_are_named(monkeypatch):
    epoch = an_epoch()
    keys = of_epoch(epoch, "account", tuple(map(str, range(300))))
    texts = texts_of([drawn(epoch, "7", 100, 1), *some_texts()])
    everything = scan(texts, keys)
    monkeypatch.setattr(scanning, "ALL_KEPT", 10)
    some = scan(texts, keys)
    assert 1 <= len(some.log10_p) < len(everything.log10_p) / 50
    assert some.n_tests == everything.n_tests
    kept = everything.log10_p <= log10(scanning.CUT)
    assert np.array_equal(everything.log10_p[kept], some.log10_p)
    for level, by in ((1e-3, "holm"), (0.01, "e-bh")):
        names = [
            {(t.row(at)["text"], t.row(at)["account"], t.row(at)["log10_p_holm"]) for at in t.named(level, by=by)}
            for t in (conclude([texts], [keys], [everything]), conclude([texts], [keys], [some]))
        ]
        assert names[0] == names[1] != set()


def test_other_tests_of_the_family_count_as_if_they_were_there():
    values = np.array([-5.0, -0.3, -4.0, -1.0])
    assert holm(values, others=96) == pytest.approx(holm(np.concatenate([values, np.zeros(96)]))[:4])
    nothing = np.full(96, -np.inf)
    assert e_bh(-values, others=96) == pytest.approx(e_bh(np.concatenate([-values, nothing]))[:4])


def test_an_epoch_and_a_folder_of_its_value_keys_are_the_same_keys(tmp_path):
    epoch, texts = an_epoch(), texts_of(some_texts())
    for slot in ("a", "b"):
        write_key(epoch.value_key("account", slot), tmp_path / f"{slot}.key")
    write_key(epoch.value_key("fleet"), tmp_path / "fleet.key")
    write_key(epoch, tmp_path / "epoch.key")
    (from_files,) = of_directory(str(tmp_path), "account")
    assert from_files.slots == ("a", "b")
    assert from_files.path(1) == epoch.value_key("account", "b").path
    assert np.array_equal(scan(texts, from_files).total, scan(texts, of_epoch(epoch, "account", ("a", "b"))).total)


def test_folders_that_cannot_be_one_key_set_are_refused(tmp_path):
    with pytest.raises(InputError, match="no value key of the account channel among 0"):
        of_directory(str(tmp_path), "account")
    with pytest.raises(InputError, match="cannot be read"):
        of_directory(str(tmp_path / "none"), "account")
    write_key(an_epoch(1).value_key("account", "a"), tmp_path / "a.key")
    write_key(an_epoch(2).value_key("account", "b"), tmp_path / "b.key")
    with pytest.raises(Refused, match="another selector"):
        of_directory(str(tmp_path), "account")
    (tmp_path / "b.key").unlink()
    write_key(an_epoch(1).value_key("account", "a"), tmp_path / "c.key")
    with pytest.raises(Refused, match="'a' is there twice"):
        of_directory(str(tmp_path), "account")


def test_keys_of_two_epochs_are_two_sets(tmp_path):
    for name in ("one", "two"):
        write_key(an_epoch(name=name).value_key("account", "a"), tmp_path / f"{name}.key")
    assert [(k.epoch, k.slots) for k in of_directory(str(tmp_path), "account")] == [
        ("epoch/one", ("a",)),
        ("epoch/two", ("a",)),
    ]


def test_slots_are_a_number_or_a_file(tmp_path):
    assert read_slots("3") == ("0", "1", "2")
    file = tmp_path / "slots"
    file.write_text("alice\n\nbob\n")
    assert read_slots(str(file)) == ("alice", "bob")


@pytest.mark.parametrize(
    "content", [b"a/b\n", b"\xff\n", b"a\nb c\n", b"..\n", b"x" * 200 + b"\n", b"a\x00b\n"], ids=repr
)
def test_a_file_of_other_things_is_refused(tmp_path, content):
    file = tmp_path / "slots"
    file.write_bytes(content)
    with pytest.raises(Error):
        read_slots(str(file))


@pytest.mark.parametrize("spec", ["0", "99999999999", "9" * 5000, "no-such-file", ""])
def test_slots_that_are_neither_are_refused(spec):
    with pytest.raises(InputError):
        read_slots(spec)


@pytest.mark.parametrize("slots", [(), ("a", "b", "a")])
def test_no_slots_and_doubled_slots_are_refused(slots):
    with pytest.raises(Error):
        of_epoch(an_epoch(), "account", slots)


def test_a_key_set_says_nothing_of_its_keys():
    keys = of_epoch(an_epoch(), "account", ("a",))
    assert isinstance(keys, KeySet)
    assert next(keys.keys(0, 1)).reveal().hex() not in repr(keys)
