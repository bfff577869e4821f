"""Golden vectors for aes128-v1 and the key tree, made without the project's code.

Written from docs/spec/prf.md and docs/spec/key-file.md alone. It needs the standard library, and mpmath for
the Gumbel table. It must never import the project: agreement of two independent programs is what it is for.

    python tests/vectors/make_vectors.py > tests/vectors/aes128-v1.json
    python tests/vectors/make_vectors.py --check tests/vectors/aes128-v1.json
"""

import argparse
import hashlib
import hmac
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath

Json = dict[str, Any]
Settings = tuple[str, int, dict[str, int]]  # spec string, width, shares

LAYOUTS = [(layout, width) for layout in ("value", "selector") for width in (1, 2, 3)] + [("leaf", 1)]
EDGE_IDS = [0, 65_535, 65_536, 131_071, 2**20 - 1]
MILLION = 1_000_000
CHANNELS = ["fleet", "cohort", "account", "leaf"]


def draw(label: str) -> bytes:
    """Return 32 bytes fixed by a label: every input that needs to look random comes from here."""
    return hashlib.sha256(b"radiolabel vectors v1: " + label.encode()).digest()


def expect(got: object, want: object, what: str) -> None:
    """Stop unless a self-check holds (an assert would vanish under `python -O`)."""
    if got != want:
        sys.exit(f"self-check failed: {what}: got {got!r}, want {want!r}")


# AES-128 encryption, FIPS 197. Slow, and not constant-time: for public inputs only.


def gf_mul(a: int, b: int) -> int:
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a & 0x100:
            a ^= 0x11B  # x^8 + x^4 + x^3 + x + 1
        b >>= 1
    return product


def make_sbox() -> list[int]:
    sbox = []
    for a in range(256):
        inverse = 1
        for _ in range(254):  # a^254 is the inverse of a, and takes 0 to 0
            inverse = gf_mul(inverse, a)
        doubled = inverse * 0x101  # two copies, so that a right shift rotates
        out = 0x63
        for shift in (0, 4, 5, 6, 7):
            out ^= (doubled >> shift) & 0xFF
        sbox.append(out)
    return sbox


SBOX = make_sbox()


def round_keys(key: bytes) -> list[bytes]:
    words = [key[i : i + 4] for i in range(0, 16, 4)]
    rcon = 1
    for i in range(4, 44):
        word = words[-1]
        if i % 4 == 0:
            word = bytes(SBOX[b] for b in word[1:] + word[:1])
            word = bytes([word[0] ^ rcon]) + word[1:]
            rcon = gf_mul(rcon, 2)
        words.append(xor(words[i - 4], word))
    return [b"".join(words[i : i + 4]) for i in range(0, 44, 4)]


def xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def mix_column(col: bytes) -> bytes:
    return bytes(gf_mul(col[r], 2) ^ gf_mul(col[r - 3], 3) ^ col[r - 2] ^ col[r - 1] for r in range(4))


def aes128(key: bytes, block: bytes) -> bytes:
    expect((len(key), len(block)), (16, 16), "AES-128 sizes")
    keys = round_keys(key)
    state = xor(block, keys[0])
    for number in range(1, 11):
        state = bytes(SBOX[b] for b in state)
        state = bytes(state[(i + 4 * (i % 4)) % 16] for i in range(16))  # ShiftRows; row of byte i is i % 4
        if number < 10:
            state = b"".join(mix_column(state[c : c + 4]) for c in range(0, 16, 4))
        state = xor(state, keys[number])
    return state


def openssl_aes128(key: bytes, block: bytes) -> bytes | None:
    if (openssl := shutil.which("openssl")) is None:
        return None
    command = [openssl, "enc", "-aes-128-ecb", "-nopad", "-K", key.hex()]
    return subprocess.run(command, input=block, capture_output=True, check=True).stdout


# HKDF-SHA256, RFC 5869


def hkdf(ikm: bytes, info: bytes, length: int, salt: bytes = b"") -> bytes:
    # RFC 5869 makes a missing salt 32 zero bytes; HMAC pads its key with zeros, so an empty one is the same.
    prk = hmac.new(salt, ikm, hashlib.sha256).digest()
    out = block = b""
    counter = 1
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        out += block
        counter += 1
    return out[:length]


def self_check() -> None:
    """Check the primitives with published answers."""
    for key, plain, cipher, name in [
        (
            "2b7e151628aed2a6abf7158809cf4f3c",
            "3243f6a8885a308d313198a2e0370734",
            "3925841d02dc09fbdc118597196a0b32",
            "FIPS 197 appendix B",
        ),
        (
            "000102030405060708090a0b0c0d0e0f",
            "00112233445566778899aabbccddeeff",
            "69c4e0d86a7b0430d8cdb78070b4c55a",
            "FIPS 197 appendix C.1",
        ),
    ]:
        expect(aes128(bytes.fromhex(key), bytes.fromhex(plain)).hex(), cipher, name)
    for ikm, salt, info, okm, number in [
        (
            b"\x0b" * 22,
            bytes(range(0x0D)),
            bytes(range(0xF0, 0xFA)),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
            1,
        ),
        (
            bytes(range(0x50)),
            bytes(range(0x60, 0xB0)),
            bytes(range(0xB0, 0x100)),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
            "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
            "cc30c58179ec3e87c14c01d5c1f3434f1d87",
            2,
        ),
        (
            b"\x0b" * 22,
            b"",
            b"",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
            3,
        ),
    ]:
        expect(hkdf(ikm, info, len(okm) // 2, salt).hex(), okm, f"RFC 5869 test case {number}")


# prf.md


def pack_block(words: Sequence[int]) -> bytes:
    if not all(0 <= w < 2**20 for w in words):
        raise ValueError(f"id out of range in {words}")
    padded = [*words, *[0xFFFF_FFFF] * (4 - len(words))]
    return b"".join(w.to_bytes(4, "little") for w in padded)


def block_case(layout: str, key: bytes, window: list[int], token: int | None) -> Json:
    """Make one case. The window of a leaf block is its position."""
    block = pack_block(window if token is None else [*window, token])
    out = aes128(key, block)
    if (other := openssl_aes128(key, block)) is not None:
        expect(out.hex(), other.hex(), "openssl enc -aes-128-ecb")
    r0 = int.from_bytes(out[:8], "little")
    r1 = int.from_bytes(out[8:], "little")
    case: Json = {"layout": layout, "width": len(window), "key": key.hex(), "window": window, "token": token}
    case |= {"block": block.hex(), "output": out.hex(), "r0": str(r0), "r1": str(r1)}
    case["u52"] = float.hex(((r0 >> 12) + 0.5) / 2**52)
    if layout == "selector":
        case["x"] = int.from_bytes(out[:4], "little")
    return case


def make_blocks() -> list[Json]:
    cases = []
    for layout, width in LAYOUTS:
        for j in range(10):
            # Two keys a layout, used in turn, so that a stale key schedule shows.
            key = draw(f"key {layout} {width} {j % 2}")[:16]
            if j < 5:  # every edge id in every place
                words = [EDGE_IDS[(j + k) % 5] for k in range(width + 1)]
            else:
                seed = draw(f"ids {layout} {width} {j}")
                words = [int.from_bytes(seed[4 * k : 4 * k + 4], "little") % 2**20 for k in range(width + 1)]
            token = None if layout == "selector" else words[width]
            cases.append(block_case(layout, key, words[:width], token))
    # The same ids in the other order, under one key: oldest first matters.
    key = draw("key order")[:16]
    cases.append(block_case("value", key, [1, 2, 3], 4))
    cases.append(block_case("value", key, [3, 2, 1], 4))
    return cases


def gumbel_table() -> tuple[list[int], dict[str, tuple[Any, int]]]:
    """Return the table, and how near its exact values come to the integer below and the one above."""
    table = [0]
    below: list[tuple[Any, int]] = []
    above: list[tuple[Any, int]] = []
    with mpmath.workdps(50):
        for i in range(1, 65_536):
            exact = -65_536 * mpmath.log(1 - mpmath.mpf(i) / 65_536)
            floor = int(mpmath.floor(exact))
            table.append(floor)
            below.append((exact - floor, i))
            above.append((floor + 1 - exact, i))
    return table, {"below": min(below), "above": min(above)}


def scores_of(blocks: list[Json], r_pairs: Sequence[tuple[int, int]], score: Any) -> list[Json]:
    """Score the value blocks (named by index), then made-up outputs."""
    cases: list[Json] = []
    for i, block in enumerate(blocks):
        if block["layout"] == "value":
            cases.append({"block": i, "score": score(int(block["r0"]), int(block["r1"]))})
    for r0, r1 in r_pairs:
        cases.append({"r0": str(r0), "r1": str(r1), "score": score(r0, r1)})
    return cases


def make_gumbel(blocks: list[Json]) -> Json:
    table, nearest = gumbel_table()
    made_up = [(r0, 1) for r0 in (0, 2**48 - 1, 2**48, 2**63 - 1, 2**63, 2**64 - 2**48, 2**64 - 1)]
    shown = {*range(8), *(2**k for k in range(16)), 32_767, 65_534, 65_535}
    shown |= {i for _, i in nearest.values()}
    near = {side: {"distance": mpmath.nstr(gap, 12), "index": i} for side, (gap, i) in nearest.items()}
    return {
        "spec": "gumbel",
        "table_sha256": hashlib.sha256(b"".join(t.to_bytes(4, "little") for t in table)).hexdigest(),
        # A table made in doubles is right too if its error is under the smaller distance.
        "nearest_integer": near,
        "entries": {str(i): table[i] for i in sorted(shown)},
        "scores": scores_of(blocks, made_up, lambda r0, r1: table[r0 >> 48]),
    }


def tournament_weights(m: int) -> list[int]:
    return [1 + (10 * (m - 1 - layer)) // m for layer in range(m)]


def make_tournament(blocks: list[Json]) -> list[Json]:
    # One bit each at both ends of both words, then all: bit order and word order show.
    ones = 2**64 - 1
    made_up = [(0, 0), (1, 0), (2**63, 0), (0, 1), (0, 2**63), (ones, 0), (0, ones), (ones, ones)]
    out = []
    for m in (1, 5, 30, 64, 128):
        weights = tournament_weights(m)

        def score(r0: int, r1: int, weights: list[int] = weights) -> int:
            bits = r0 + (r1 << 64)
            return sum(w * (bits >> layer & 1) for layer, w in enumerate(weights))

        case: Json = {"spec": f"tournament:layers={m}", "layers": m, "weights": weights}
        out.append({**case, "scores": scores_of(blocks, made_up, score)})
    return out


def make_greenlist(blocks: list[Json]) -> list[Json]:
    out = []
    for gamma in ("0.25", "0.5", "0.1", "0.000001", "0.999999"):
        millionths = int(Fraction(gamma) * MILLION)
        threshold = millionths * 2**64 // MILLION

        def score(r0: int, r1: int, threshold: int = threshold) -> int:
            return int(r0 < threshold)

        made_up = [(r0, 0) for r0 in (0, threshold - 1, threshold, threshold + 1, 2**64 - 1)]
        out.append(
            {
                "spec": f"greenlist:delta=2,gamma={gamma}",
                "gamma_millionths": millionths,
                "threshold": str(threshold),
                "scores": scores_of(blocks, made_up, score),
            }
        )
    return out


def make_channels() -> list[Json]:
    out = []
    for shares in (
        [250_000, 250_000, 250_000, 250_000],
        [400_000, 300_000, 200_000, 100_000],
        [333_333, 333_333, 333_333, 1],
        [1, 999_997, 1, 1],
        [500_000, 0, 500_000, 0],
        [0, 700_000, 0, 300_000],
        [0, 0, 123_456, 876_544],
        [1_000_000, 0, 0, 0],
        [0, 1_000_000, 0, 0],
        [0, 0, 1_000_000, 0],
        [0, 0, 0, 1_000_000],
    ):
        edges = [sum(shares[:i]) * 2**32 // MILLION for i in range(5)]
        near = {x for edge in edges for x in (edge - 1, edge, edge + 1) if 0 <= x < 2**32}
        cases = []
        for x in sorted(near):
            (owner,) = [c for i, c in enumerate(CHANNELS) if edges[i] <= x < edges[i + 1]]
            cases.append({"x": x, "channel": owner})
        out.append({"shares": dict(zip(CHANNELS, shares, strict=True)), "edges": edges, "cases": cases})
    return out


# key-file.md


def lp(*texts: str) -> bytes:
    return b"".join(len(raw).to_bytes(2, "little") + raw for raw in (text.encode() for text in texts))


def child(node: bytes, kind: str, name: str, context: str = "") -> bytes:
    return hkdf(node, lp("radiolabel/v1/child", kind, name, context), 32)


def aes_key(node: bytes, purpose: str, width: int, shares: str) -> bytes:
    return hkdf(node, lp("radiolabel/v1/aes", "aes128-v1", purpose, str(width), shares), 16)


def aes_keys(node: bytes, purpose: str) -> dict[str, dict[str, str]]:
    """Return the keys of every share setting and width."""
    texts = [shares_string(shares) for _, _, shares in VALUE_SETTINGS]
    return {text: {str(h): aes_key(node, purpose, h, text).hex() for h in (1, 2, 3)} for text in texts}


def master_id(master: bytes) -> str:
    return hkdf(master, lp("radiolabel/v1/id", ""), 32).hex()


def bound_id(secret: bytes, path: str, spec: str, width: int, shares: str) -> str:
    """Return the id of an epoch (its node) or of a value file (value key, then selector key)."""
    return hkdf(secret, lp("radiolabel/v1/id", path, "aes128-v1", spec, str(width), shares), 32).hex()


def shares_string(shares: dict[str, int]) -> str:
    return ",".join(f"{name}={shares[name]}" for name in CHANNELS if shares.get(name, 0) > 0)


SPECS = [
    "gumbel",
    "tournament:layers=30",
    "tournament:layers=1",
    "greenlist:delta=2,gamma=0.25",
    "greenlist:delta=0.5,gamma=0.000001",
]
# Zero shares are left out of the object, as they are out of its string. The second and third are out of order
# on purpose.
VALUE_SETTINGS: list[Settings] = [
    ("gumbel", 3, {"fleet": 400_000, "cohort": 300_000, "account": 200_000, "leaf": 100_000}),
    ("tournament:layers=30", 2, {"account": 1, "fleet": 500_000, "cohort": 499_999}),
    ("greenlist:delta=2,gamma=0.25", 1, {"cohort": 333_333, "fleet": 333_333, "account": 333_334}),
]
# The third beacon looks like hexadecimal, and is still taken as text.
EPOCHS = [("2025-W01", ""), ("2025-W01", "drand/round 4812345"), ("e", draw("beacon").hex())]
NAMES = {"cohort": "eu-west_1.b", "account": "A" * 128, "leaf": "req-0001"}


def make_epoch(master: bytes, name: str, beacon: str) -> Json:
    path = f"epoch/{name}"
    node = child(master, "epoch", name, beacon)
    selector = child(node, "selector", "")
    nodes = {f"{path}/fleet": child(node, "fleet", "")}
    for kind in ("cohort", "account"):
        nodes[f"{path}/{kind}/{NAMES[kind]}"] = child(node, kind, NAMES[kind])
    leaf = child(node, "leaf", NAMES["leaf"])
    return {
        "path": path,
        "beacon": beacon,
        "secret": node.hex(),
        "ids": [bound_id(node, path, spec, h, shares_string(shares)) for spec, h, shares in VALUE_SETTINGS],
        "selector": {
            "path": f"{path}/selector",
            "node": selector.hex(),
            "keys": aes_keys(selector, "selector"),
        },
        "leaf": {
            "path": f"{path}/leaf/{NAMES['leaf']}",
            "node": leaf.hex(),
            "key": aes_key(leaf, "leaf", 1, "").hex(),
        },
        "channels": [
            {
                "path": p,
                "node": n.hex(),
                "value_keys": {spec: aes_keys(n, spec) for spec in SPECS},
            }
            for p, n in nodes.items()
        ],
        "value_files": [value_settings(p, n, selector, s) for s in VALUE_SETTINGS for p, n in nodes.items()],
    }


def value_settings(path: str, node: bytes, selector: bytes, settings: Settings) -> Json:
    spec, width, shares = settings
    text = shares_string(shares)
    value_key, selector_key = aes_key(node, spec, width, text), aes_key(selector, "selector", width, text)
    return {
        "path": path,
        "scheme": spec,
        "width": width,
        "shares": shares,
        "shares_string": text,
        "id": bound_id(value_key + selector_key, path, spec, width, text),
    }


def make_keys() -> Json:
    masters: list[Json] = []
    for i in range(2):
        master = draw(f"master {i}")
        epochs = [make_epoch(master, name, beacon) for name, beacon in EPOCHS]
        masters.append({"secret": master.hex(), "id": master_id(master), "epochs": epochs})
    first = masters[0]
    epoch = first["epochs"][1]
    spec, width, shares = VALUE_SETTINGS[0]
    kind = {"radiolabel": "key", "version": 1}
    files: list[Json] = [
        {**kind, "kind": "master", "id": first["id"], "path": "", "secret": first["secret"]},
        {
            **kind,
            "kind": "epoch",
            "id": epoch["ids"][0],
            "path": epoch["path"],
            "secret": epoch["secret"],
            "scheme": spec,
            "width": width,
            "shares": shares,
            "prf": "aes128-v1",
        },
    ]
    # One value file with all four shares and one without a leaf share.
    for number, channel in ((1, 1), (3, 0)):
        value = epoch["value_files"][number]
        keys = epoch["channels"][channel]["value_keys"][value["scheme"]][value["shares_string"]]
        files.append(
            {
                **kind,
                "kind": "value",
                "id": value["id"],
                "path": value["path"],
                "scheme": value["scheme"],
                "width": value["width"],
                "shares": value["shares"],
                "prf": "aes128-v1",
                "value_key": keys[str(value["width"])],
                "selector_key": epoch["selector"]["keys"][value["shares_string"]][str(value["width"])],
            }
        )
        expect(epoch["channels"][channel]["path"], value["path"], "channel of the value file")
    return {"masters": masters, "files": files}


def make_vectors() -> Json:
    blocks = make_blocks()
    return {
        "title": "Radiolabel test vectors: aes128-v1 and the key tree",
        "specs": {"docs/spec/prf.md": 1, "docs/spec/key-file.md": 1},
        "prf": "aes128-v1",
        "made_by": "tests/vectors/make_vectors.py",
        "made_with": "Python only: standard library, and mpmath at 50 digits for the Gumbel table",
        "blocks": blocks,
        "gumbel": make_gumbel(blocks),
        "tournament": make_tournament(blocks),
        "greenlist": make_greenlist(blocks),
        "channels": make_channels(),
        "keys": make_keys(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the golden vectors, on stdout.")
    parser.add_argument("--check", type=Path, metavar="FILE", help="compare; exit 1 on a difference")
    arguments = parser.parse_args()
    self_check()
    if shutil.which("openssl") is None:
        print("no openssl on PATH: AES was checked with FIPS 197's examples only", file=sys.stderr)
    text = json.dumps(make_vectors(), indent=1) + "\n"
    if arguments.check is None:
        sys.stdout.write(text)
        return 0
    if arguments.check.read_bytes() == text.encode():
        return 0
    print(f"{arguments.check} differs from what this script makes", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
