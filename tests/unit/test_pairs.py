"""Pairs and likelihoods as files, and the coin that says which member was served."""

import hashlib
import hmac
import json
import re
from pathlib import Path

import pytest

from tests.conftest import make_epoch
from tests.joined import join
from verify.errors import InputError, Refused
from verify.pairs import Likelihood, Member, Pair, read_likelihoods, read_pairs
from watermark.errors import KeyFileError

PAGE = Path(__file__).resolve().parents[2] / "docs/spec/pair.md"
DIGEST = "sha256:" + "0" * 64


def make_pair(id="a-twin", served=0, texts=("red", "blue"), **others):
    return Pair.of(
        id=id, prompt="which?", members=tuple(Member(text=t) for t in texts), served=served, drawn="serving", **others
    )


def make_likelihood(pair, scores=(-1.0, -2.5), **others):
    fields = {"tokens": (3, 4), "suspect": "s"} | others
    return Likelihood(id=pair.id, digests=pair.digests, log_likelihood=scores, **fields)


@pytest.fixture
def write(tmp_path):
    def write(*records):
        path = tmp_path / "records.jsonl"
        path.write_bytes(b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in records))
        return str(path)

    return write


def test_round_trip(write):
    members = Member(text="é\u2028\n\x01", token_ids=(1, 2)), Member(text="", token_ids=())
    full = Pair.of(
        **{"id": "b", "prompt": '"', "members": members, "served": 1, "drawn": "later", "account": "7"},
        **{"conversation": "c", "model": "m", "tokenizer": DIGEST, "request": "r", "replayed": False},
    )
    pairs = [make_pair(), full]
    assert list(read_pairs(write(*(p.to_json() for p in pairs)))) == pairs
    assert full.to_json().startswith(b'{"radiolabel":"pair","version":1,"id":"b"')
    found = [make_likelihood(full), make_likelihood(pairs[0], reference=(-1.0, 0.0), reference_model="base")]
    assert list(read_likelihoods(write(*(x.to_json() for x in found)))) == found


@pytest.mark.parametrize("ids", [None, (0, 1_048_575)])
def test_the_digest_is_that_of_the_page(ids):
    """Computed by another JSON encoder: the escapes of RFC 8785 are Python's without ASCII escapes."""
    text = "".join(map(chr, range(0x300))) + "\u2028\U0001f600</"
    canonical = {"prompt": text, "text": text[::-1], "token_ids": ids}
    data = json.dumps(canonical, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    assert Member(text=text[::-1], token_ids=ids).digest(text) == "sha256:" + hashlib.sha256(data.encode()).hexdigest()


def test_the_example_of_the_page_is_valid(write):
    pair, likelihood = re.search(r"```json\n(.*)\n(.*)\n```", PAGE.read_text()).groups()
    joined = join(list(read_pairs(write(pair.encode()))), read_likelihoods(write(likelihood.encode())))
    assert joined.scored[0].difference == -17.5 / 8 + 11.25 / 5


def changed(record, path, value):
    record = json.loads(record.to_json())
    *parents, last = path
    place = record
    for step in parents:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return record


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["served"], 2, "served is 2, expected 0 or 1"),
        (["served"], True, "served is True, expected 0 or 1"),
        (["served"], None, "pair without 'served'"),
        (["members"], [{"text": "red"}], "members is [{'text': 'red'}], expected two objects with text"),
        (["members"], [{"text": "red"}] * 3, "expected two objects with text"),
        (["members", 1, "text"], 5, "members[1].text is 5, expected a string"),
        (["members", 1, "text"], None, "pair.members[1] without 'text'"),
        (["members", 1, "text"], "green", "digests[1] is sha256:"),
        (["prompt"], "what?", "digests[0] is sha256:"),
        (["members", 0, "token_ids"], [1], "one member has token_ids and the other has none"),
        (["members", 0, "token_ids"], [-1], "members[0].token_ids[0] is -1, expected at most"),
        (["members", 0, "token_ids"], [1 << 20], "members[0].token_ids[0] is 1048576"),
        (["digests"], [DIGEST, DIGEST], "digests[0] is sha256:000000000000..., and the member's is"),
        (["digests", 0], "md5:0", "digests[0] is 'md5:0', expected two of 'sha256:'"),
        (["replayed"], "yes", "replayed is 'yes', expected true or false"),
        (["drawn"], "never", "drawn is 'never', expected 'serving' or 'later'"),
        (["radiolabel"], "transcript", "radiolabel is 'transcript', expected 'pair'"),
        (["version"], 2, "pair version is 2, expected 1"),
        (["version"], True, "pair version is True, expected 1"),
        (["version"], None, "pair version is None, expected 1"),
        (["id"], None, "pair without 'id'"),
        (["tokenizer"], "qwen", "tokenizer is 'qwen', expected 'sha256:'"),
    ],
)
def test_pairs_that_are_refused(write, path, value, message):
    with pytest.raises(InputError) as caught:
        list(read_pairs(write(changed(make_pair(), path, value))))
    assert message in caught.value.message
    assert "records.jsonl:1: " in caught.value.message


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["log_likelihood", 0], 0.5, "log_likelihood[0] is 0.5, expected two numbers from -1e300 to 0"),
        (["log_likelihood", 0], "-1", "log_likelihood[0] is '-1'"),
        (["log_likelihood"], [-1.0], "log_likelihood is [-1.0], expected two numbers"),
        (["log_likelihood", 1], -1e301, "log_likelihood[1] is -1e+301, expected two numbers"),
        (["tokens", 1], -1, "tokens[1] is -1, expected two counts"),
        (["tokens", 0], 0, "log_likelihood[0] is -1.0 over 0 tokens, expected 0"),
        (["reference"], [-1, -1], "reference and reference_model, expected both or neither"),
        (["reference_model"], "base", "reference and reference_model, expected both or neither"),
        (["suspect"], None, "likelihood without 'suspect'"),
        (["radiolabel"], "pair", "radiolabel is 'pair', expected 'likelihood'"),
        (["version"], 2, "likelihood version is 2, expected 1"),
    ],
)
def test_likelihoods_that_are_refused(write, path, value, message):
    with pytest.raises(InputError) as caught:
        list(read_likelihoods(write(changed(make_likelihood(make_pair()), path, value))))
    assert message in caught.value.message


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "-1e999", "null"])
def test_log_likelihoods_that_are_no_numbers(write, number):
    line = make_likelihood(make_pair()).to_json().replace(b"-2.5", number.encode())
    with pytest.raises(InputError):
        list(read_likelihoods(write(line)))
    with pytest.raises(InputError):
        make_likelihood(make_pair(), (-1.0, float("nan"))).to_json()


def test_ids_that_stand_in_a_file_twice(write):
    pair = make_pair()
    with pytest.raises(InputError, match=r":2: id 'a-twin' stands in the file twice"):
        list(read_pairs(write(pair.to_json(), pair.to_json())))
    with pytest.raises(InputError, match=r":2: id 'a-twin' stands in the file twice"):
        list(read_likelihoods(write(*[make_likelihood(pair).to_json()] * 2)))


def test_join_takes_the_sign_from_what_was_served_and_names_the_missing():
    pairs = [make_pair("a", 0, account="7"), make_pair("b", 1), make_pair("c"), make_pair("d", texts=("x", "x"))]
    scored = [make_likelihood(pairs[i]) for i in (1, 0, 3)]
    joined = join(pairs, scored)
    per_token = -1.0 / 3 + 2.5 / 4
    assert [(s.id, s.difference) for s in joined.scored] == [("b", -per_token), ("a", per_token), ("d", 0.0)]
    assert (joined.scored[1].account, [(s.id, s.difference) for s in joined.missing]) == ("7", [("c", None)])
    with_reference = [make_likelihood(pairs[0], reference=(-4.0, -1.0), reference_model="base")]
    assert join(pairs, with_reference).scored[0].difference == (-1.0 + 4.0) - (-2.5 + 1.0)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([make_likelihood(make_pair("z"))], "likelihood 'z' has no pair"),
        ([make_likelihood(make_pair("b", texts=("red", "green")))], "'b' is of other texts than the pair"),
        ([make_likelihood(make_pair("b", texts=("blue", "red")))], "'b' is of other texts than the pair"),
        ([make_likelihood(make_pair("a"))], "likelihood 'a' has no pair, or is there twice"),
        ([make_likelihood(make_pair("b"), suspect="t")], "is of suspect 't' and reference None, expected 's' and None"),
        ([make_likelihood(make_pair("b"), reference=(0.0, 0.0), reference_model="r")], "reference 'r', expected 's'"),
    ],
)
def test_likelihoods_that_do_not_go_with_the_pairs(others, message):
    pairs = [make_pair("a"), make_pair("b", 1)]
    with pytest.raises(Refused) as caught:
        join(pairs, [make_likelihood(pairs[0]), *others])
    assert message in caught.value.message


# --- the coin ---------------------------------------------------------------------------------------------------------


def hkdf(key, parts, length):
    """RFC 5869 with an empty salt and one block of output, from the standard library."""
    info = b"".join(len(p).to_bytes(2, "little") + p for p in (part.encode() for part in parts))
    extracted = hmac.digest(bytes(32), key, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")[:length]


def test_coin_and_choice_are_those_of_the_page():
    epoch = make_epoch(3)
    node = hkdf(epoch.secret.reveal(), ("radiolabel/v1/child", "coin", "", ""), 32)
    for i in range(50):
        t = hkdf(node, ("radiolabel/v1/coin", f"r{i}"), 9)
        assert epoch.coin(f"r{i}") == t[8] & 1
        assert epoch.is_twinned(f"r{i}", 300_000) == (int.from_bytes(t[:8], "little") < 300_000 * 2**64 // 10**6)


def test_coins_are_fair_and_independent_of_the_choice_and_of_each_other():
    """Deviations beyond 4.5 standard deviations in any of the counts have a chance of 1 in 30,000."""
    epoch, other, n = make_epoch(4), make_epoch(5), 4000
    coins = [epoch.coin(f"r{i}-twin") for i in range(n)]
    chosen = [epoch.is_twinned(f"r{i}", 250_000) for i in range(n)]
    assert abs(sum(chosen) - n / 4) < 4.5 * (n * 3 / 16) ** 0.5
    among = [c for c, twinned in zip(coins, chosen, strict=True) if twinned]
    assert abs(sum(among) - len(among) / 2) < 4.5 * (len(among) / 4) ** 0.5
    for others in ([other.coin(f"r{i}-twin") for i in range(n)], [epoch.coin(f"r{i}") for i in range(n)], coins[1:]):
        agree = sum(a == b for a, b in zip(coins, others, strict=False))
        assert abs(agree - len(others) / 2) < 4.5 * (n / 4) ** 0.5


def test_shares_of_nothing_and_of_all():
    epoch = make_epoch()
    assert not any(epoch.is_twinned(f"r{i}", 0) for i in range(100))
    assert all(epoch.is_twinned(f"r{i}", 1_000_000) for i in range(100))
    with pytest.raises(KeyFileError):
        epoch.coin("a/b")


def test_an_answer_stands_in_one_pair(write):
    """A served answer with a twin of its serving and one drawn later, or copied under another id."""
    serving = make_pair("r-twin", request="r")
    for other in (
        make_pair("r-later-twin", request="r"),
        make_pair("r-twin-later-twin", request="r-twin"),
        make_pair("r"),
    ):
        with pytest.raises(Refused, match=f"pair '{other.id}': an answer to request 'r(-twin)?' is in another pair"):
            list(read_pairs(write(serving.to_json(), other.to_json())))
    apart = serving, make_pair("s-twin", request="s"), make_pair("t")
    assert len(list(read_pairs(write(*(p.to_json() for p in apart))))) == 3
