"""Check an evidence file a second time: from the pages of this folder alone, importing nothing of Radiolabel.

    python check_evidence.py EVIDENCE POLICY FOLDER [KEYFILE]

Prints a line for each step, with the ids of evidence.md, section 9; exits with 0 if none failed and all that the policy
requires are ok, else 1. It knows `closed` of transcripts (distinct pairs; no tail of a tournament), and of likelihoods
`twin` (signs) and `accounts` (no bounds for groups). Not checked: steps without a line, fields after "not:", types,
times of timestamps.
"""

import base64
import hmac
import json
import math
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from itertools import accumulate
from pathlib import Path

import mpmath
import numpy as np
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from tokenizers import Tokenizer

CHANNELS = ("fleet", "cohort", "account", "leaf")
REASONS = ("first_h", "repeated_window", "copied_from_prompt", "duplicate", "other_channel")
PREDICATE = "citations commitments decision inputs others plan register results software times unrun"
TYPES = {"_type": "https://in-toto.io/Statement/v1", "predicateType": "urn:radiolabel:evidence:1"}
Unable = NotImplementedError  # to check something: no failure
KIND = "application/vnd.in-toto+json"
outcomes, mpmath.mp.dps = {}, 40


@contextmanager
def step(name):
    """Run and print a step: ok unless something is raised, of whatever kind."""
    outcome, said = "ok", []
    try:
        yield said.append
    except Unable as reason:
        outcome, said = "not checked", [reason]
    except BaseException as error:  # a panic of a library in Rust is one
        outcome, said = "failed", [f"{type(error).__name__}: {error}"]
    outcomes[name] = outcome
    print(f"{outcome:<11}  {name:<12}  {ascii(' '.join(map(str, said)))[1:-1][:300]}".rstrip())
    if outcome == "failed" and name in ("envelope", "signature", "fields"):
        sys.exit(1)


def need(holds, otherwise, error=ValueError):
    if not holds:
        raise error(otherwise)


def parse(data, end=b""):
    value = json.loads(data)  # of duplicate fields the last wins, and then the bytes differ
    need(rfc8785.dumps(value) + end == data, "not in the one spelling of canonical JSON")
    return value


def sha(data):
    return "sha256:" + sha256(data).hexdigest()


def digest(record):
    return sha(rfc8785.dumps({name: value for name, value in record.items() if name != "timestamps"}))


def same(stated, found):
    """Fail where something else is stated than was found; tell what is stated beside it."""
    for name, value in found.items():
        x = stated.get(name)
        near = isinstance(value, float) and abs(x - value) < 1.000001e-6 + 1e-9 * abs(value)
        need(near or (type(x), x) == (type(value), value), f"{name} is {x}, and {value} follows")
    return f"{', '.join(found)}; not: {', '.join(name for name in stated if name not in found)}"


def number(alias):
    """Of an account (pseudonym.md, section 2)."""
    found = int(alias.removeprefix("alias-"))
    need(alias == f"alias-{found}" and 1 <= found <= test["accounts"], "an account that is no alias")
    return found


@cache
def signs(w, losses, _, alone):
    """log10 of p and of e of a sign test (evidence.md, section 10)."""
    n = w + losses  # each binomial coefficient from the one before
    ways = lambda m, k: sum(accumulate(range(k, m), lambda c, j: c * (m - j) // (j + 1), initial=math.comb(m, k)))
    e = mpmath.log10(mpmath.mpf(ways(n + 1, losses + 1)) / (n + 1) / math.comb(n, w))
    return (mpmath.log10(mpmath.mpf(ways(n, w)) / 2**n) if alone else min(0, -e)), e


def hkdf(ikm, length, *parts):
    """HKDF-SHA256 with an empty salt, over length-prefixed parts, of at most 32 bytes (key-file.md, section 1)."""
    info = b"".join(len(part.encode()).to_bytes(2, "little") + part.encode() for part in map(str, parts))
    return hmac.digest(hmac.digest(b"", ikm, "sha256"), info + b"\1", "sha256")[:length]


def blocks(key, words):
    """AES-128 of rows of four u32 words, as rows of two u64 words (prf.md, section 1)."""
    encryptor = Cipher(algorithms.AES(bytes.fromhex(key)), modes.ECB()).encryptor()
    return np.frombuffer(encryptor.update(words.astype("<u4").tobytes()), "<u8").reshape(-1, 2)


def stamped(record):
    """Let OpenSSL verify a record's timestamps (commitment.md, section 7)."""
    need(record["timestamps"] and trust["roots"] and shutil.which("openssl"), "no timestamp, root or openssl", Unable)
    with tempfile.TemporaryDirectory() as scratch:
        token, roots = Path(scratch, "token"), Path(scratch, "roots")
        roots.write_text(trust["roots"])
        call = ["openssl", "ts", "-verify", "-token_in", "-digest", digest(record)[7:], "-CAfile", roots, "-in", token]
        for data in record["timestamps"]:
            token.write_bytes(base64.b64decode(data))
            need(not subprocess.run(call, capture_output=True).returncode, "openssl refuses a timestamp")


evidence, policy, folder, keyfile = [*sys.argv[1:], None][:4]
with step("envelope"):  # sections 1 and 2
    envelope, trust = (parse(Path(name).read_bytes(), b"\n") for name in (evidence, policy))
    payload, (one,) = base64.b64decode(envelope["payload"]), envelope["signatures"]
    statement, sig = parse(payload), base64.b64decode(one["sig"])
    signatures = [{"keyid": one["keyid"], "sig": base64.b64encode(sig).decode()}]
    again = {"payload": base64.b64encode(payload).decode(), "payloadType": KIND, "signatures": signatures}
    need(envelope == again, "other fields or types, or base64 in another spelling")
    digests = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    subjects = [{"digest": {"sha256": digests[name]}, "name": name} for name in sorted(digests)]
    p = statement["predicate"]
    need(statement == {**TYPES, "subject": subjects, "predicate": p}, "other fields, types or order of subjects")
with step("signature"):
    signer = bytes.fromhex(trust["signer"])
    need(sha(signer) == "sha256:" + one["keyid"], "the key is not the policy's signer")
    signed = f"DSSEv1 {len(KIND)} {KIND} {len(payload)} ".encode() + payload
    Ed25519PublicKey.from_public_bytes(signer).verify(sig, signed)
with step("fields"):
    plan, inputs, lines, results, key = p["plan"], p["inputs"], p["register"], p["results"], None
    test, h, ids, fields = plan["test"], plan["width"], [k["id"] for k in plan["keys"]], set(PREDICATE.split())
    asks, spec, settled = dict(plan["suspect"]), plan["scheme"], dict(plan["inputs"])
    need(sorted(inputs.values()) == sorted(digests) and type(lines) is list, "roles of other files, or no register")
    need(fields <= set(p) and [result["key"] for result in results] == ids, "a field, or a key's result, is missing")
    slots, required, files = [] + p["commitments"]["slots"], set(trust["required"]), {}
    epoch = p["commitments"].get("epoch", {"timestamps": []})
    closed = test["hypothesis"] == "closed" and test["weights"] == "distinct" and not test["served"]
    crowd = test["hypothesis"] == "accounts"
    twin = test["hypothesis"] in ("twin", "accounts") and test["scores"] == "likelihoods"
    twin = twin and test.get("statistic", "sign") == "sign"
    need(set(p) <= fields | {"rate"}, f"unknown: {set(p) - fields}", Unable)
with step("plan"):
    stamped(plan)
if lines:
    with step("register.1"):
        heads = ["sha256:" + "0" * 64, *(sha(rfc8785.dumps(line)) for line in lines)]
        need([(x["number"], x["previous"]) for x in lines] == list(enumerate(heads[:-1])), "no chain")
    with step("register.2"):
        need(len({line["plan"] for line in lines}) == len(lines), "a plan is there twice")
    with step("register.3"):
        any(map(stamped, lines))
    with step("register.5"):
        (own,) = [line for line in lines if line["plan"] == digest(plan)]
        tokens = [sha(base64.b64decode(token)) for token in plan["timestamps"]]
        need((own["keys"], own["plan_tokens"]) == (ids, tokens), "with other keys or timestamps")
with step("drawer"):
    lost = {x["plan"] for x in lines} - {digest(plan), *(x["plan"] for x in p["others"])}
    need(lost <= set(p["unrun"]), "a registered plan has no result and no reason")
    need(lines and not lost, "no register, or plans that were not run", Unable)
with step("inputs"):
    paths = {role: Path(folder, Path(name).name) for role, name in inputs.items()}
    files = {role: path.read_bytes() for role, path in paths.items() if path.is_file() and not path.is_symlink()}
    others = sorted(role for role, data in files.items() if sha(data) != "sha256:" + digests[inputs[role]])
    read = [role for role in ("input", "pairs", "likelihoods", "groups") if role in files]
    texts = {role: files[role].split(b"\n") for role in read}
    rows = {role: [json.loads(line) for line in texts[role] if line.strip()] for role in texts}
    need(not others, f"other bytes: {others}")
    need(set(files) == set(inputs), "not all were given", Unable)
with step("keys"):
    need(keyfile, "no key was given", Unable)
    k = json.loads(Path(keyfile).read_text())
    context, secret = ["radiolabel/v1/id", k["path"]], k.get("secret") or k["value_key"] + k["selector_key"]
    if k["kind"] == "value":
        shares = ",".join(f"{name}={k['shares'][name]}" for name in CHANNELS if name in k["shares"])
        context += ["aes128-v1", k["scheme"], k["width"], shares]
    allowed = ids if k["kind"] == "value" else [result["measured"]["coin_key"] for result in results]
    own_id = hkdf(bytes.fromhex(secret), 32, *context).hex()
    need(own_id in allowed, "its id is none of the plan's")
    need(epoch.get("coin_id", own_id) == own_id or k["kind"] == "value", "it is not the coin node that was committed")
    key, m = k, results[allowed.index(own_id)]["measured"]
with step("epoch.1"):
    stamped(epoch)
for number, slot in enumerate(slots):
    with step(f"slot.{5 * number + 4}"):  # commitment.md, sections 4 and 6: the siblings lead to the root
        at, last = slot["index"], slot["size"] - 1
        leaf = {"id": slot["id"], "path": slot["path"]}
        node = sha256(b"\0" + rfc8785.dumps(leaf)).digest()
        for sibling in map(bytes.fromhex, slot["siblings"]):
            left = at % 2 or at == last
            node = sha256(b"\1" + (sibling + node if left else node + sibling)).digest()
            shift = (at & -at).bit_length() if left and at else 1
            at, last = at >> shift, last >> shift
        need((node.hex(), slot["size"], last) == (epoch["root"], epoch["size"], 0), "it is not in the tree")
        need(slot["commitment"] == digest(epoch) and leaf in plan["keys"], "of another commitment or key")
if asks.get("kind") == "endpoint" and plan.get("timestamps") and lines and "input" in files:  # plan.md, section 4
    with step("collection.1"):
        answers, token = rows["input"], base64.b64decode(own["timestamps"][0])
        need({x["meta"]["settings"]["plan"] for x in answers} == {digest(plan)}, "an answer under another plan")
    with step("collection.4"):
        nonces = [hkdf(token, 16, "radiolabel/v1/plan-nonce", x["id"]).hex() for x in answers]
        need(nonces == [x["meta"]["nonce"] for x in answers], "another nonce")
    with step("collection.5"):
        order, seed = list(range(asks["n_prompts"] * asks["repeat"])), hkdf(token, 32, "radiolabel/v1/plan-order")
        for i in range(len(order) - 1, 0, -1):
            x = int.from_bytes(sha256(seed + i.to_bytes(8, "little")).digest()[:16], "little")
            order[i], order[x % (i + 1)] = order[x % (i + 1)], order[i]
        asked = [order.index(int(x["id"])) for x in answers]
        tops = [-1, *accumulate(asked, max)]  # below the top an answer makes no new gap
        early = [i for i, place in enumerate(asked) if place > tops[i] and place - i >= asks["concurrency"]]
        need(not early and len(set(asked)) == len(asked), f"twice, or before their turn: {early}")
with step("measured") as say:
    options = dict(option.split("=") for option in spec.partition(":")[2].split(",") if option)
    layers, limit = int(options.get("layers", 0)), (round(float(options.get("gamma", 0)) * 10**6) << 64) // 10**6
    weights = [1 + 10 * (layers - 1 - i) // layers for i in range(layers)] or [1]  # prf.md, section 4
    chance, gumbel = 0.5 if layers else limit / 2**64, spec == "gumbel"
    need(key and set(files) == set(inputs), "not without the key and all inputs", Unable)
    need(closed or (test.get("coins"), test.get("missing")) == ("recomputed", "loss"), "such a test", Unable)
    if closed:  # marking.md, section 3
        need(not test["token_ids"] and not test["prompts"], "token ids, or prompts from elsewhere", Unable)
        tokenizer, pairs, dropped = Tokenizer.from_str(files["tokenizer"].decode()), {}, dict.fromkeys(REASONS, 0)
        tokenizer.no_truncation(), tokenizer.no_padding()
        sizes, skip = [], test["repeated_windows"] == "skip"
        for answer in rows["input"]:
            own, shown = (tokenizer.encode(answer[x], add_special_tokens=False).ids for x in ("response", "prompt"))
            copied, used = {tuple(shown[i : i + h + 1]) for i in range(len(shown) - h)}, set()
            said = [answer["prompt"], *tokenizer.decode_batch([[token] for token in own], skip_special_tokens=False)]
            text, *letters = ("".join(x.casefold().replace("\ufffd", "").split()) for x in said)
            sizes.append(len(own))
            for t in range(len(own)):
                pair, echo = tuple(own[max(0, t - h) : t + 1]), "".join(letters[max(0, t - h) : t + 1])
                why = "first_h" if t < h else "repeated_window" if skip and pair[:-1] in used else ""
                why = why or ("copied_from_prompt" if pair in copied or (text and echo in text) else "")
                why = why or ("duplicate" if pair in pairs else "other_channel")
                dropped[why] += 1
                used.add(pair[:-1])
                pairs |= {pair: None} if why == "other_channel" else {}
        windows, words = np.array(list(pairs)), np.full((len(pairs), 4), 2**32 - 1)
        words[:, : h + 1] = windows
        ends = [0, *accumulate(key["shares"].get(name, 0) for name in CHANNELS)]
        low, high = (end * 2**32 // 10**6 for end in ends[CHANNELS.index(key["path"].split("/")[2]) :][:2])
        place = blocks(key["selector_key"], np.where(np.arange(4) == h, 2**32 - 1, words))[:, 0] & 0xFFFFFFFF
        r = blocks(key["value_key"], words[(low <= place) & (place < high)])
        bits = [r[:, i // 64] >> (i % 64) & 1 for i in range(layers)] or [r[:, 0] < limit]
        scores = sum(w * bit.astype(object) for w, bit in zip(weights, bits, strict=True))
        if gumbel:
            scores = np.array([int(-65536 * mpmath.log1p(mpmath.mpf(-int(i)) / 65536)) for i in r[:, 0] >> 48], object)
        dropped["other_channel"] -= len(scores)
        found = {"n_documents": len(sizes), "n_empty": sizes.count(0), "n_seen": sum(sizes), "n_scored": len(scores)}
        found |= {"n_dropped": dropped, "total": str(sum(scores)), "total_squares": str(sum(scores**2))}
    else:  # pair.md, sections 2 to 4
        seen, scored, members = [], {x["id"]: x for x in rows["likelihoods"]}, set()
        for pair in rows["pairs"]:
            served = hkdf(bytes.fromhex(key["secret"]), 9, "radiolabel/v1/coin", pair["id"])[8] & 1
            need(served == pair["served"], f"the coin of {pair['id']} is another")
            x, gap = scored.pop(pair["id"], None), -1
            if x:
                base, size = (x["reference"], (1, 1)) if x.get("reference") else ((0, 0), x["tokens"])
                score = [(x["log_likelihood"][i] - base[i]) / max(1, size[i]) for i in (0, 1)]
                equal = len({y["text"] for y in pair["members"]}) == 1 if "members" in pair else pair["equal"]
                gap = 0 if equal or {*pair["digests"]} in members else score[served] - score[1 - served]
                need(x["digests"] == pair["digests"], f"the likelihood of {pair['id']} is of other texts")
            members.add(frozenset(pair["digests"]))
            seen.append("wins" if gap > 0 else "losses" if gap < 0 else "ties")
        need(not scored, "a likelihood without its pair")
        talks = [x["conversation"] for x in rows["pairs"] if x.get("conversation") is not None]
        found = {"n_pairs": len(seen), "alone": len(set(talks)) == len(talks), "coin_key": own_id}
        counted = {name: seen.count(name) for name in ("wins", "losses", "ties")}
        if crowd:  # pseudonym.md, section 2
            table, groups = [[0, 0, 0] for _ in range(test["accounts"])], {}
            for pair, sign in zip(rows["pairs"], seen, strict=True):
                if pair.get("account") is not None:
                    table[number(pair["account"]) - 1][list(counted).index(sign)] += 1
            for row in rows.get("groups", ()):
                groups.setdefault(row["group"], []).append(number(row["account"]))
            counted = {"n_unnamed": sum(x.get("account") is None for x in rows["pairs"]), "accounts": table}
            counted |= {"groups": [{"group": g, "accounts": sorted(x)} for g, x in groups.items()]} if groups else {}
        found |= counted
    say(same(m, found))
    need(len(ids) == 1, "of several keys only one was disclosed", Unable)
with step("stopping"):
    need(closed or twin, "such a test", Unable)
    need(all(settled[role] == "sha256:" + digests[inputs[role]] for role in settled), "other inputs")
    need(twin or test["tokenizer"] == "sha256:" + digests[inputs["tokenizer"]], "another tokenizer")
    counts = [x["measured"].get("n_documents", x["measured"].get("n_pairs")) for x in results]
    need({*counts} == {test["stopping"]["n"]}, f"{counts} answers or pairs")
    need(not crowd or len(results[0]["measured"]["accounts"]) == test["accounts"], "another number of accounts")
with step("derived") as say:
    need(twin or (closed and not layers), "such a test, or the tail of a tournament", Unable)
    for m, derived in ((result["measured"], result["derived"]) for result in results):
        if closed:
            n, total = m["n_scored"], mpmath.mpf(int(m["total"])) / (65536 if gumbel else 1)
            z = 2 ** (1 - np.arange(36) / 2) / math.sqrt(1 if gumbel else chance * (1 - chance))
            if gumbel:
                tail = mpmath.gammainc(n, total, regularized=True)
                mgf = [-math.log1p(-x) if x < 1 else math.inf for x in z]
            else:
                tail = mpmath.betainc(total, n - total + 1, 0, chance, regularized=True)
                mgf = np.log1p(chance * np.expm1(z))
            e10 = mpmath.log10(sum(mpmath.exp(total * x - n * k) for x, k in zip(z, mgf, strict=True)) / 36)
            p10, cipher = mpmath.log10(tail), mpmath.mpf(n) ** 2 / 2**129
        elif crowd:
            both, size, cipher = [signs(*row, m["alone"]) for row in m["accounts"]], len(m["accounts"]), 0
            ranks = {log: sorted(range(size), key=lambda i, k=k: both[i][k]) for k, log in enumerate(("p", "e"))}
            holm, bh, worst = [0.0] * size, [0.0] * size, -math.inf
            for place, i in enumerate(ranks["p"]):
                holm[i] = worst = max(worst, min(0, both[i][0] + mpmath.log10(size - place)))
            for place, i in enumerate(ranks["e"]):
                bh[i] = worst = min(worst if place else 0, mpmath.log10(mpmath.mpf(size) / (size - place)) - both[i][1])
            columns = {"log10_p": [x for x, _ in both], "log10_p_holm": holm, "log10_e_bh": bh}
            table = {name: [math.ceil(x * 10**6) / 1e6 for x in values] for name, values in columns.items()}
            table["log10_e"] = [math.floor(x * 10**6) / 1e6 for _, x in both]
            for name, values in table.items():
                need(len(derived["accounts"][name]) == size, f"other numbers of {name}")
                for stated, value in zip(derived["accounts"][name], values, strict=True):
                    same({name: stated}, {name: value})
            bounds = {"named": ("log10_p_holm", plan["alpha"] / len(plan["family"]["tests"]))}
            bounds |= {} if test["fdr"] == "none" else {"named_fdr": ("log10_e_bh", test["fdr"])}
            names = {k: [i + 1 for i in range(size) if table[c][i] <= math.log10(a)] for k, (c, a) in bounds.items()}
            say(same(derived, names))
            p10, e10 = min(holm), mpmath.log10(sum(mpmath.mpf(10) ** x for x in table["log10_e"]) / size)
        else:
            p10, e10, cipher = *signs(m["wins"], m["losses"], 0, m["alone"]), 0
        stated = mpmath.log10(mpmath.mpf(10) ** p10 + cipher + mpmath.mpf(2) ** -128)
        up = {"log10_p": math.ceil(p10 * 10**6) / 1e6, "log10_p_stated": math.ceil(stated * 10**6) / 1e6}
        more = {"log10_e": math.floor(e10 * 10**6) / 1e6, "found": bool(p10 <= math.log10(plan["alpha"]))}
        say(same(derived, up | more))
with step("decision") as say:
    need(plan["family"]["correction"] in ("none", "holm"), "this correction", Unable)
    worst, size, tests = -math.inf, len(plan["family"]["tests"]), p["decision"]["tests"]
    need(len(tests) == len(ids), "not one decision for each key")
    for place, i in enumerate(sorted(range(len(ids)), key=lambda i: results[i]["derived"]["log10_p"])):
        worst = max(worst, min(0.0, results[i]["derived"]["log10_p"] + math.log10(size - place)))
        name = plan["name"] if len(ids) == 1 else f"{plan['name']}: {plan['keys'][i]['path']}"
        found = {"name": name, "log10_adjusted": worst, "found": worst <= math.log10(plan["alpha"])}
        same(tests[i], found)
good = "failed" not in outcomes.values() and all(outcomes.get(name) == "ok" for name in required)
sys.exit(None if good else "not accepted")
