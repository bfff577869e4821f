"""What tests need without the texts: redacted pairs, and hashed windows."""

import gzip
import hashlib
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import make_epoch
from tests.joined import join
from tests.unit.test_pairs import make_likelihood, make_pair
from verify import hashed_windows
from verify import pairs as pairs_module
from verify.corpus import summarize_documents
from verify.distinct import Pairs
from verify.errors import InputError, Refused
from verify.hashed_windows import HashedWindows, lines_of
from verify.inputs import open_documents
from verify.pairs import Member, Pair, check_coins, read_likelihoods, read_pairs
from verify.records import Document
from verify.redaction import RedactedPair, read_twins, redacted
from verify.served import hash_served, served_mask
from verify.tokenization import Tokenizer

SPEC = Path(__file__).resolve().parents[2] / "docs/spec"
DIGEST = "sha256:" + "0" * 64
OTHER = "sha256:" + "1" * 64
SALT = bytes(range(16))


@pytest.fixture
def write(tmp_path):
    def write(*records, name="records.jsonl"):
        path = tmp_path / name
        lines = (r if isinstance(r, bytes) else json.dumps(r).encode() for r in records)
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return str(path)

    return write


def full_pair(**others):
    members = Member(text="customer's é\u2028 answer", token_ids=(1, 2)), Member(text="withheld", token_ids=())
    fields = {"id": "b", "prompt": "customer's question", "members": members, "served": 1, "drawn": "later"}
    fields |= {"account": "7", "conversation": "c", "model": "m", "tokenizer": DIGEST, "request": "r"}
    return Pair.of(**(fields | {"replayed": False} | others))


# Pairs.


def test_the_texts_are_gone_and_everything_else_is_there():
    pair = full_pair()
    line = json.loads(redacted(pair).to_json())
    left = {k: v for k, v in json.loads(pair.to_json()).items() if k not in ("prompt", "members")}
    assert line == left | {"radiolabel": "redacted-pair", "equal": False}
    for secret in (b"customer", b"withheld", b"token_ids", b"prompt"):
        assert secret not in redacted(pair).to_json()


def test_the_line_is_that_of_the_page(write):
    whole, _, line = re.findall(r'^\{"radiolabel".*\}$', (SPEC / "pair.md").read_text(), re.MULTILINE)
    (pair,) = read_pairs(write(whole.encode()))
    assert redacted(pair).to_json() == line.encode()


TEXT = st.text(max_size=8)
SOME = st.none() | TEXT


@given(
    st.tuples(TEXT, TEXT, TEXT),
    st.fixed_dictionaries(dict.fromkeys(("account", "conversation", "model", "request"), SOME)),
    st.sampled_from([None, True, False]),
    st.sampled_from([None, (1, 2)]),
)
def test_a_pair_opened_later_gives_its_redacted_line_again(texts, names, replayed, ids):
    prompt, *members = texts
    made = tuple(Member(text=text, token_ids=ids) for text in members)
    pair = Pair.of(id="i", prompt=prompt, members=made, served=0, drawn="serving", replayed=replayed, **names)
    line = redacted(pair).to_json()
    # Through its file, with other white space, order, escapes, nulls and a field that no reader knows.
    spelled = dict(reversed(json.loads(pair.to_json()).items())) | {"note": 1}
    spelled |= {name: None for name in names if names[name] is None}
    opened = pairs_module.pair(json.loads(json.dumps(spelled)), "here")
    assert opened == pair
    assert redacted(opened).to_json() == line
    assert json.loads(line)["equal"] == (members[0] == members[1])


def test_a_redacted_file_is_read_as_it_was_written(write):
    pairs = [redacted(p) for p in (full_pair(), make_pair(), make_pair("t", texts=("same", "same")))]
    assert [p.equal for p in pairs] == [False, False, True]
    assert list(read_twins(write(*(p.to_json() for p in pairs)))) == pairs


def test_the_twin_test_sees_the_same_numbers_without_the_texts(write):
    pairs = [make_pair(f"p{i}", i % 2, (f"a{i}", f"b{i % 3}"), account=str(i % 2), request=f"r{i}") for i in range(6)]
    pairs.append(make_pair("same", 1, ("x", "x")))
    found = [make_likelihood(p, (-1.0 - i, -2.5)) for i, p in enumerate(pairs[:5])]
    found.append(make_likelihood(pairs[-1], (-2.0, -2.0), tokens=(3, 3)))
    likelihoods = write(*(x.to_json() for x in found), name="likelihoods.jsonl")
    whole = join(read_twins(write(*(p.to_json() for p in pairs))), read_likelihoods(likelihoods))
    less = join(read_twins(write(*(redacted(p).to_json() for p in pairs))), read_likelihoods(likelihoods))
    assert [[s.difference for s in part] for part in vars(whole).values()] == [
        [s.difference for s in part] for part in vars(less).values()
    ]
    assert len(less.scored) == 6
    assert len(less.missing) == 1
    assert {s.equal for s in less.scored} == {True, False}


@pytest.mark.parametrize(
    "other",
    [{"scores": (-1.0, -2.0)}, {"tokens": (3, 4)}, {"reference": (-1.0, -1.5), "reference_model": "m"}],
    ids=str,
)
def test_a_loss_cannot_be_called_a_tie(other):
    pair = make_pair(texts=("red", "blue"))
    numbers = {"scores": (-2.0, -2.0), "tokens": (3, 3)} | other
    likelihood = make_likelihood(pair, **numbers)
    lie = RedactedPair(
        **{name: getattr(redacted(pair), name) for name in RedactedPair.__struct_fields__} | {"equal": True}
    )
    assert len(join([redacted(pair)], [likelihood]).scored) == 1
    with pytest.raises(Refused, match="likelihood 'a-twin' has two different numbers, and the pair says"):
        join([lie], [likelihood])
    # Where the texts are there they decide, whatever another program's rounding did.
    same = make_pair(texts=("red", "red"))
    assert join([same], [make_likelihood(same, **numbers)]).scored[0].difference == 0


def test_coins_are_computed_again():
    coins = make_epoch(3).coin_key()
    names = [f"r{i}-twin" for i in range(20)]
    pairs = [redacted(make_pair(name, coins.coin(name))) for name in names]
    assert list(check_coins(pairs, coins)) == pairs
    with pytest.raises(Refused, match="the coin of this key is"):
        list(check_coins([redacted(make_pair("r0-twin", 1 - coins.coin("r0-twin")))], coins))


def line_with(**changes):
    record = json.loads(redacted(full_pair()).to_json()) | changes
    return {k: v for k, v in record.items() if v is not ...}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": "x"}, "redacted-pair has 'prompt', expected the fields of its table alone"),
        ({"members": []}, "redacted-pair has 'members'"),
        ({"note": 1}, "redacted-pair has 'note'"),
        ({"equal": ...}, "redacted-pair without 'equal'"),
        ({"equal": 0}, "equal is 0, expected true or false"),
        ({"equal": False, "digests": [DIGEST, DIGEST]}, "equal is False, and both digests are the same"),
        ({"digests": [DIGEST]}, "digests is"),
        ({"digests": ...}, "redacted-pair without 'digests'"),
        ({"served": 2}, "served is 2, expected 0 or 1"),
        ({"served": True}, "served is True"),
        ({"drawn": "never"}, "drawn is 'never'"),
        ({"id": ...}, "redacted-pair without 'id'"),
        ({"tokenizer": "t"}, "tokenizer is 't'"),
        ({"version": 2}, "redacted-pair version is 2, expected 1"),
        ({"radiolabel": "transcript"}, "radiolabel is 'transcript', expected 'pair'"),
        ({"radiolabel": ["pair"]}, "radiolabel is ['pair']"),
    ],
)
def test_redacted_pairs_that_are_refused(write, changes, message):
    with pytest.raises(InputError) as caught:
        list(read_twins(write(line_with(**changes))))
    assert message in caught.value.message
    assert "records.jsonl:1: " in caught.value.message


def test_the_kinds_are_not_mixed(write):
    whole, less = make_pair("p").to_json(), redacted(make_pair("q")).to_json()
    with pytest.raises(InputError, match=":2: a redacted-pair after a pair, expected one kind in a file"):
        list(read_twins(write(whole, less)))
    with pytest.raises(InputError, match=":2: a pair after a redacted-pair, expected one kind in a file"):
        list(read_twins(write(less, whole)))


def test_ids_and_requests_are_distinct(write):
    line = redacted(make_pair("r-twin", request="r")).to_json()
    with pytest.raises(InputError, match=":2: id 'r-twin' stands in the file twice"):
        list(read_twins(write(line, line)))
    with pytest.raises(Refused, match="an answer to request 'r' is in another pair too"):
        list(read_twins(write(line, redacted(make_pair("r-later-twin", request="r")).to_json())))


def test_who_needs_the_texts_says_so(write):
    with pytest.raises(Refused, match="a redacted pair, expected one with its prompt and its texts") as refused:
        list(read_pairs(write(redacted(make_pair()).to_json())))
    assert "take the file that this one was made from" in refused.value.hint


def test_nothing_is_written_that_would_not_be_read():
    whole = {"id": "a", "served": 0, "drawn": "later", "digests": (DIGEST, OTHER), "equal": False}
    RedactedPair(**whole).to_json()
    for changes in ({"served": 2}, {"digests": (DIGEST, DIGEST)}, {"account": "\ud800"}, {"equal": None}):
        with pytest.raises(InputError):
            RedactedPair(**(whole | changes)).to_json()


# Windows.


def answers(*ids, tokenizer=None):
    return [
        Document(name=f"f:{i}", token_ids=np.array(one, dtype=np.uint32), tokenizer=tokenizer)
        for i, one in enumerate(ids, 1)
    ]


def file_of(tmp_path, documents, width, salt=SALT):
    path = tmp_path / "windows.txt"
    path.write_bytes(b"".join(lines_of(*hash_served(documents, width, salt=salt))))
    return str(path)


def pairs_of(*ids, width):
    return summarize_documents(answers(*ids), width, tokenizer=None, trust_ids=True).pairs


def reference(ids, width, salt=SALT):
    """All windows, hashed by the page's words."""
    found = set()
    for one in ids:
        for start in range(len(one) - width + 1):
            window = b"".join(i.to_bytes(4, "little") for i in one[start : start + width])
            found.add(hashlib.sha256(salt + window).hexdigest()[:20])
    return sorted(found)


def test_the_file_is_that_of_the_page(tmp_path):
    example = re.search(r"```\n(\{.*?)```", (SPEC / "windows.md").read_text(), re.DOTALL)[1]
    assert Path(file_of(tmp_path, answers([5, 6, 5, 6, 7]), 2)).read_text() == example


IDS = st.lists(st.integers(0, 5) | st.sampled_from([255, 256, 65_536, (1 << 20) - 1]), max_size=12)


@settings(max_examples=60)
@given(st.lists(IDS, min_size=1, max_size=4), st.lists(IDS, min_size=1, max_size=4), st.integers(1, 3))
def test_the_mask_is_that_of_the_transcripts(tmp_path_factory, served, suspect, width):
    path = file_of(tmp_path_factory.mktemp("w"), answers(*served), width)
    assert Path(path).read_text().splitlines()[1:] == reference(served, width)
    pairs = pairs_of(*suspect, width=width)
    mask = served_mask(path, pairs, tokenizer=None)
    known = {tuple(one[i : i + width]) for one in served for i in range(len(one) - width + 1)}
    assert mask.tolist() == [tuple(window) in known for window in pairs.windows().tolist()]
    assert mask.dtype == np.bool_


def test_both_kinds_of_file_give_one_mask(tmp_path):
    random = np.random.default_rng(1)
    served = [random.integers(0, 60, 400).tolist() for _ in range(5)]
    lines = [json.dumps({"token_ids": ids}) for ids in served]
    (tmp_path / "served.jsonl").write_text("\n".join(lines))
    pairs = pairs_of(*(random.integers(0, 60, 500).tolist() for _ in range(4)), width=2)
    plain = served_mask(str(tmp_path / "served.jsonl"), pairs, tokenizer=None)
    hashed = served_mask(file_of(tmp_path, open_documents(str(tmp_path / "served.jsonl")), 2), pairs, tokenizer=None)
    assert 200 < plain.sum() < len(pairs) - 200
    assert (plain == hashed).all()


def test_many_lines_are_read_in_chunks(tmp_path, monkeypatch):
    served = [list(range(1000, 1200))]
    pairs = pairs_of([3, *range(1000, 1200, 1)], list(range(1100, 1300)), width=1)
    expected = [1000 <= t < 1200 for (t,) in pairs.windows().tolist()]
    seen = []
    for size in (1, 7, 200, 201, 1 << 15):
        monkeypatch.setattr(hashed_windows, "CHUNK_LINES", size)
        path = file_of(tmp_path, answers(*served), 1)
        assert Path(path).read_text().splitlines()[1:] == reference(served, 1)
        assert served_mask(path, pairs, tokenizer=None, progress=seen.append).tolist() == expected
        assert sum(seen) == 200
        seen.clear()


def test_hashes_with_zeros_at_an_end_are_found(monkeypatch, tmp_path):
    """Numpy's bytes drop zeros at the end: they must come back, and two hashes must not become one."""
    made = [b"\0" * 10, b"\0" * 9 + b"\1", b"\1" + b"\0" * 9, b"\1" * 9 + b"\0", b"\x80" + b"\0" * 9, b"\xff" * 10]
    head = HashedWindows(width=1, n=len(made), salt=SALT.hex(), tokenizer="unknown")
    hashes = np.array(made, dtype="S10")
    assert b"".join(lines_of(head, hashes)).split(b"\n")[1:-1] == [h.hex().encode() for h in made]
    (tmp_path / "w").write_bytes(b"".join(lines_of(head, hashes)))
    monkeypatch.setattr(HashedWindows, "hashes", lambda self, windows: np.array([made[int(w)] for w in windows], "S10"))
    windows = np.arange(len(made), dtype=np.uint64)
    pairs = Pairs.of(windows, np.zeros(len(made), dtype=np.uint32), 1)
    for size in (1, 2, 100):
        monkeypatch.setattr(hashed_windows, "CHUNK_LINES", size)
        assert served_mask(str(tmp_path / "w"), pairs, tokenizer=None).all()
        for gone in range(len(made)):
            left = np.delete(hashes, gone)
            (tmp_path / "x").write_bytes(b"".join(lines_of(replace_n(head, len(left)), left)))
            assert served_mask(str(tmp_path / "x"), pairs, tokenizer=None).tolist() == [
                i != gone for i in range(len(made))
            ]


def replace_n(head, n):
    return HashedWindows(width=head.width, n=n, salt=head.salt, tokenizer=head.tokenizer)


def test_the_salt_gives_the_bytes(tmp_path):
    documents = answers([1, 2, 3, 4])
    first = Path(file_of(tmp_path, documents, 2)).read_bytes()
    assert Path(file_of(tmp_path, documents, 2)).read_bytes() == first
    other = Path(file_of(tmp_path, documents, 2, bytes(16))).read_bytes()
    assert not set(other.split(b"\n")[1:-1]) & set(first.split(b"\n")[1:-1])


def test_a_compressed_file_is_read(tmp_path):
    path = file_of(tmp_path, answers([1, 2, 3]), 1)
    (tmp_path / "w.gz").write_bytes(gzip.compress(Path(path).read_bytes()))
    pairs = pairs_of([3, 9, 1, 9], width=1)
    assert served_mask(str(tmp_path / "w.gz"), pairs, tokenizer=None).tolist() == [
        w in (1, 2, 3) for (w,) in pairs.windows().tolist()
    ]


def test_no_window_is_a_file_too(tmp_path):
    path = file_of(tmp_path, answers([1]), 2)
    assert not served_mask(path, pairs_of([1, 2, 3], width=2), tokenizer=None).any()
    path = file_of(tmp_path, answers([1, 2, 3]), 2)
    assert served_mask(path, pairs_of([1], width=2), tokenizer=None).shape == (0,)


def test_another_width_or_tokenizer_is_refused(tmp_path, tokenizer_file):
    tokenizer = Tokenizer.load(str(tokenizer_file))
    ids = [1, 2, 3, 4]
    for stated, known, fine in (
        (tokenizer.digest, tokenizer, True),
        (None, tokenizer, True),
        (OTHER, None, True),
        (OTHER, tokenizer, False),
    ):
        path = file_of(tmp_path, answers(ids, tokenizer=stated), 2)
        assert json.loads(Path(path).read_text().split("\n")[0])["tokenizer"] == (stated or "unknown")
        if fine:
            assert served_mask(path, pairs_of(ids, width=2), tokenizer=known).all()
        else:
            with pytest.raises(Refused, match="windows of another tokenizer"):
                served_mask(path, pairs_of(ids, width=2), tokenizer=known)
    with pytest.raises(Refused, match="windows of width 2, expected 3, which the key has"):
        served_mask(path, pairs_of(ids, width=3), tokenizer=None)
    with pytest.raises(Refused, match="f:1: made with another tokenizer than the documents before it"):
        hash_served(answers(ids, tokenizer=DIGEST) + answers(ids, tokenizer=OTHER), 2, salt=SALT)
    with pytest.raises(Refused, match="served without token_ids"):
        hash_served([Document(name="f:1", text="words")], 2, salt=SALT)


WINDOWS = b"".join(lines_of(*hash_served(answers([1, 2, 3, 4]), 2, salt=SALT)))
HEAD, *LINES = WINDOWS.splitlines(keepends=True)


def head_with(**changes):
    value = json.loads(HEAD) | changes
    value = {k: value[k] for k in sorted(value) if value[k] is not ...}
    return json.dumps(value, separators=(",", ":")).encode() + b"\n" + b"".join(LINES)


BAD = {
    "a line less": (WINDOWS[:-21], "ends early, expected 3 windows"),
    "half a line": (WINDOWS[:-1], "ends early"),
    "a line more": (WINDOWS + b"f" * 20 + b"\n", "goes on after 3 windows"),
    "a line end more": (WINDOWS + b"\n", "goes on after 3 windows"),
    "no line": (HEAD, "ends early"),
    "no line end of the first": (HEAD[:-1], "canonical form"),
    "capitals": (HEAD + LINES[0].upper() + LINES[1] + LINES[2], "w:2: not 20 digits"),
    "other letters": (HEAD + LINES[0] + b"g" * 20 + b"\n" + LINES[2], "w:3: not 20 digits"),
    "crlf": (WINDOWS.replace(b"\n", b"\r\n"), "canonical form"),
    "no line end": (HEAD + LINES[0] + LINES[1] + LINES[2][:-1] + b" ", "w:4: not 20 digits"),
    "descending": (HEAD + LINES[1] + LINES[0] + LINES[2], "w:3: does not come after"),
    "twice": (HEAD + LINES[0] + LINES[0] + LINES[2], "w:3: does not come after"),
    "another version": (head_with(version=2), "version is 2, expected 1"),
    "width 0": (head_with(width=0), "width"),
    "width 4": (head_with(width=4), "width"),
    "width as a text": (head_with(width="2"), "width"),
    "negative n": (head_with(n=-1), "n"),
    "large n": (head_with(n=(1 << 53) - 1), "ends early"),
    "huge n": (head_with(n=1 << 60), "canonical"),
    "short salt": (head_with(salt="00"), "salt"),
    "no salt": (head_with(salt=...), "salt"),
    "no tokenizer": (head_with(tokenizer=...), "tokenizer"),
    "tokenizer null": (head_with(tokenizer=None), "tokenizer"),
    "unknown field": (head_with(x=1), "unknown field x"),
    "white space": (HEAD.replace(b":", b": ").replace(b'l": "w', b'l":"w') + b"".join(LINES), "canonical form"),
    "long first line": (b" " * 700 + HEAD[:-1] + b" " * 700 + b"\n" + b"".join(LINES), "more than 1024 bytes"),
}


@pytest.mark.parametrize("size", [1, 2, 1 << 15])
@pytest.mark.parametrize("case", BAD)
def test_other_files_are_refused(tmp_path, monkeypatch, case, size):
    data, message = BAD[case]
    monkeypatch.setattr(hashed_windows, "CHUNK_LINES", size)
    (tmp_path / "w").write_bytes(data)
    with pytest.raises(InputError, match=re.escape(message)):
        served_mask(str(tmp_path / "w"), pairs_of([1, 2, 3], width=2), tokenizer=None)


def test_no_changed_byte_goes_unseen(tmp_path):
    """Whatever is changed is refused, or changes what the file says."""
    pairs = pairs_of([1, 2, 3, 4, 5], width=2)
    before = served_mask(file_of(tmp_path, answers([1, 2, 3, 4]), 2), pairs, tokenizer=None).tolist()
    assert before.count(True) == 3
    passed = 0
    for place, bit in itertools.product(range(len(WINDOWS)), range(8)):
        changed = bytearray(WINDOWS)
        changed[place] ^= 1 << bit
        (tmp_path / "w").write_bytes(bytes(changed))
        try:
            after = served_mask(str(tmp_path / "w"), pairs, tokenizer=None).tolist()
        except (InputError, Refused):
            continue
        passed += 1
        assert after != before, (place, bit)
    assert passed < 400  # digits of the salt, and those of a hash where it stays in order
