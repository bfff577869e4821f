"""Engines' configurations: read whole or refused, without a word of the key, and made from our tree."""

import hmac
import json
import os
from hashlib import sha256

import pytest

from tests.conftest import make_epoch
from watermark.errors import KeyFileError
from watermark.native import MARKS, mark_named, read_mark
from watermark.native.configuration import read_configuration, write_configuration
from watermark.native.provisioning import provision

DIGITS = "5eeded5a17ed1234"
NUMBER = int(DIGITS, 16)
KEYS = [NUMBER ^ (i << 40) ^ 9973 * i for i in range(30)]
PARAMETERS = {"transformers-greenlist": ":vocabulary=4096"}
GOOD = {
    "vllm-gumbel": {"key": NUMBER},
    "vllm-dual-key-gumbel": {"watermark-config": {"key": NUMBER, "algorithm": "dual_key_gumbel", "alpha": 0.2}},
    "sglang-gumbel": {"key": DIGITS},
    "synthid": {"ngram_len": 5, "keys": KEYS},
    "transformers-greenlist": {"hashing_key": NUMBER},
}
BAD = [
    ("vllm-gumbel", {"key": -1}), ("vllm-gumbel", {"key": 2**64}), ("vllm-gumbel", {"key": True}),
    ("vllm-gumbel", {"key": DIGITS}), ("vllm-gumbel", {}), ("vllm-gumbel", {"key": NUMBER, "context_width": 0}),
    ("vllm-gumbel", {"key": NUMBER, "algorithm": "dual_key_gumbel"}), ("vllm-gumbel", {"watermark-config": [NUMBER]}),
    ("vllm-gumbel", {"key": NUMBER, "prf": "md5"}), ("vllm-gumbel", {"key": NUMBER, DIGITS: 1}),
    ("vllm-dual-key-gumbel", {"key": NUMBER, "algorithm": "dual_key_gumbel", "alpha": 1.5}),
    ("vllm-dual-key-gumbel", {"key": NUMBER}),
    ("sglang-gumbel", {"key": DIGITS + "0"}), ("sglang-gumbel", {"key": ""}), ("sglang-gumbel", {"key": NUMBER}),
    ("sglang-gumbel", {"key": "+" + DIGITS[1:]}), ("sglang-gumbel", {"key": DIGITS, "context_window": 1.5}),
    ("sglang-gumbel", {"key": DIGITS, "key_b": DIGITS, "mixing_probability": 1}),
    ("sglang-gumbel", {"key": DIGITS + "\n"}), ("sglang-gumbel", {"key": "\u0661" * 16}),
    ("synthid", {"ngram_len": 5}), ("synthid", {"ngram_len": 1, "keys": KEYS}),
    ("synthid", {"ngram_len": 5, "keys": KEYS * 3}), ("synthid", {"ngram_len": 5, "keys": [2**63]}),
    ("synthid", {"ngram_len": 5, "keys": [NUMBER | 1 << 15] * 30}),  # one key: layers are not independent
    ("synthid", {"ngram_len": 5, "keys": [NUMBER | 1 << 15, *(NUMBER + (i % 27) * 9973 for i in range(29))]}),
    ("synthid", {"ngram_len": 5, "keys": [NUMBER | 1 << 15, (NUMBER | 1 << 15) + 65_536]}),
    ("synthid", {"ngram_len": 5, "keys": KEYS, "sampling_table_size": 65_537}),
    ("synthid", {"ngram_len": 5, "keys": KEYS, "sampling_table_size": 2**25}),
    ("synthid", {"ngram_len": 5, "keys": KEYS, "device": "cuda:0"}),
    ("synthid", {"ngram_len": 5, "keys": [654, 400, 836, 123, 340, 443, 597, 160, 57]}),  # of the documentation
    ("synthid", {"ngram_len": 5, "keys": [32_767 - i for i in range(30)]}),
    ("transformers-greenlist", {"hashing_key": 15_485_863}),  # the default
    ("transformers-greenlist", {"hashing_key": 0}), ("transformers-greenlist", {"hashing_key": 2**63}),
    ("transformers-greenlist", {"hashing_key": NUMBER, "greenlist_ratio": 1.0}),
    ("transformers-greenlist", {"hashing_key": NUMBER, "greenlist_ratio": float("nan")}),
    ("transformers-greenlist", {"hashing_key": NUMBER, "seeding_scheme": ["lefthash"]}),
    ("transformers-greenlist", {"hashing_key": NUMBER, "seeding_scheme": DIGITS}),
]  # fmt: skip


def spec(name):
    return name + PARAMETERS.get(name, "")


def put(folder, record, mode=0o600):
    path = folder / "native.json"
    path.write_text(record if isinstance(record, str) else json.dumps(record))
    path.chmod(mode)
    return path


@pytest.mark.parametrize("name", GOOD)
def test_an_engines_configuration_is_read_and_hides_its_key(name, tmp_path):
    mark = read_mark(spec(name), put(tmp_path, GOOD[name]))
    assert mark.width in (1, 4)
    shown = repr(mark) + str(mark.parameters)
    assert DIGITS not in shown
    assert str(NUMBER) not in shown
    assert mark.rekeyed(b"\x07" * mark.decoy_bytes) != mark


@pytest.mark.parametrize(("name", "record"), BAD, ids=lambda v: v if isinstance(v, str) else str(v)[:50])
def test_what_is_not_one_is_refused_without_its_values(name, record, tmp_path):
    with pytest.raises(KeyFileError) as caught:
        read_mark(spec(name), put(tmp_path, record))
    said = f"{caught.value} {caught.value.hint}"
    assert DIGITS not in said
    assert str(NUMBER) not in said
    assert said[0] == "/"  # it names the file


@pytest.mark.parametrize("text", [
    "", "[]", "3", '{"key": 1, "key": 2}', '{"key": 1', "\xff", '{"key": NaN}', "key: 5\n", "[" * 100_000,
    " " * 70_000 + "{}", '{"key": ' + "9" * 5000 + "}",
])  # fmt: skip
def test_no_file_breaks_the_reader(text, tmp_path):
    path = put(tmp_path, text)
    if text == "\xff":
        path.write_bytes(b"\xff{}")
    with pytest.raises(KeyFileError, match=r"native\.json"):
        read_configuration(path)


def test_files_that_others_read_are_refused(tmp_path):
    for mode in (0o640, 0o604, 0o660):
        with pytest.raises(KeyFileError, match="can be read by others"):
            read_configuration(put(tmp_path, GOOD["vllm-gumbel"], mode))
    for path in ("-", "", tmp_path, tmp_path / "none", "a\0b"):
        with pytest.raises(KeyFileError):
            read_configuration(path)


@pytest.mark.parametrize("text", ["vllm", "vllm-gumbel:a", "synthid:a=1,a=2", "", "VLLM-GUMBEL"])
def test_unknown_schemes_are_refused(text):
    with pytest.raises(KeyFileError):
        mark_named(text)
    read = MARKS["transformers-greenlist"].from_configuration
    with pytest.raises(KeyFileError, match="vocabulary"):
        read(GOOD["transformers-greenlist"], {})


@pytest.mark.parametrize("name", MARKS)
def test_provisioned_keys_come_from_the_tree(name, tmp_path):
    epoch, mark = make_epoch(3), MARKS[name]
    provision(epoch, mark, tmp_path / "a")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    first = read_mark(spec(name), tmp_path / "a")
    assert first.engine == mark.engine
    own = mark.configuration(epoch.native_bytes(name, mark.key_length()).reveal())
    assert first == mark.from_configuration(own, mark_named(spec(name))[1])
    provision(make_epoch(3), mark, tmp_path / "b")
    provision(make_epoch(4), mark, tmp_path / "c")
    assert read_mark(spec(name), tmp_path / "b") == first
    assert read_mark(spec(name), tmp_path / "c") != first
    # Another mark's key is another.
    other = next(n for n in MARKS if n != name)
    assert epoch.native_bytes(name, 8) != epoch.native_bytes(other, 8)
    with pytest.raises(KeyFileError, match="never overwritten"):
        provision(epoch, mark, tmp_path / "a")


def test_the_derivation_is_that_of_the_page():
    """docs/spec/key-file.md, section 7, by HKDF from the standard library."""

    def hkdf(ikm, length, *parts):
        info = b"".join(len(p).to_bytes(2, "little") + p for p in parts)
        prk, block, out, i = hmac.digest(bytes(32), ikm, sha256), b"", b"", 1
        while len(out) < length:
            block = hmac.digest(prk, block + info + bytes([i]), sha256)
            out, i = out + block, i + 1
        return out[:length]

    epoch = make_epoch(0)
    node = hkdf(epoch.secret.reveal(), 32, b"radiolabel/v1/child", b"native", b"synthid", b"")
    expected = hkdf(node, 240, b"radiolabel/v1/native", b"synthid")
    assert epoch.native_bytes("synthid", 240).reveal() == expected


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(KeyFileError, match="cannot be written"):
        write_configuration({"key": 1}, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_transformers_reads_what_was_provisioned(tmp_path):
    transformers = pytest.importorskip("transformers")
    for name, kind in (("synthid", "SynthIDTextWatermarkingConfig"), ("transformers-greenlist", "WatermarkingConfig")):
        provision(make_epoch(1), MARKS[name], tmp_path / name)
        config = getattr(transformers, kind).from_dict(json.loads((tmp_path / name).read_text()))
        config.validate()
        processor = config.construct_processor(4096, "cpu")
        mark = read_mark(spec(name), tmp_path / name)
        theirs = processor.keys.tolist() if name == "synthid" else [processor.hash_key]
        assert [k.to_bytes(8, "little") for k in theirs] == [
            mark.secret.reveal()[i : i + 8] for i in range(0, len(mark.secret), 8)
        ]
