"""Whole cases through the real command line: keys, beacon, commitments, plan, collection, evidence, policy.

The authority is a real one (OpenSSL), the suspect a real local server, and time is what it is.
"""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.openai_server import OpenAIServer
from tests.tsa_server import TSAServer
from verify.beacons import QUICKNET, round_time
from verify.cli import main
from verify.pairs import Likelihood, Member, Pair
from watermark.keyfile import read_key
from watermark.sampling import Request, Sampler

N_PROMPTS, REPEAT = 6, 2
QUESTIONS = N_PROMPTS * REPEAT
TOKENS = 60
PREVIOUS = "other.json"  # evidence on an innocent model, under the same key


def run(*arguments: object) -> str:
    """The command line in this process: what it prints; a failure is an error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(map(str, arguments)))
    assert code == 0, f"{arguments}: exit {code}: {err.getvalue()}"
    return out.getvalue()


@dataclass(frozen=True)
class Case:
    """A folder with everything, and what to check it with.

    Attributes:
        folder: all files; those of the inputs by their signed names.
        evidence: the file's name.
        key: name of the disclosed key's file.
    """

    folder: Path
    evidence: str
    key: str

    def path(self, name: str) -> Path:
        """A file of the folder."""
        return self.folder / name


class Provider:
    """A provider with committed keys, in a folder.

    Args:
        folder: an empty one.
        tsa: a running authority.
        tokenizer: of the model, and its file.
    """

    def __init__(self, folder: Path, tsa: TSAServer, tokenizer, tokenizer_file: Path) -> None:
        self.folder, self.tsa, self.tokenizer = folder, tsa, tokenizer
        self.certs = ("--tsa-certs", tsa.authority.roots_file)
        self.stamp = ("--tsa", tsa.url, *self.certs)
        (folder / "tokenizer.json").write_bytes(tokenizer_file.read_bytes())
        (folder / "prompts.txt").write_text("".join(f"p{i}\n" for i in range(N_PROMPTS)))
        f = self.file
        run("key", "new", "-o", f("master.key"))
        run("key", "signer", "-o", f("signer.pem"))
        # The authority's clock may be off by 1.5 seconds, and a round comes every 3.
        number = next(r for r in range(_round_at(time.time() + 2), 1 << 40) if _at(r) > time.time() + 2)
        epoch = ("--path", "epoch/q4", "--accounts", "4", "--shares", "fleet=0.75,account=0.125,leaf=0.125")
        run("commit", "master", f("master.key"), *epoch, "--round", number, *self.stamp, "-o", f("m.json"))  # fmt: skip
        time.sleep(max(0.0, _at(number) - time.time()))
        self.beacon = "ab" * 32
        run("commit", "epoch", f("master.key"), "--master", f("m.json"), "--beacon-value", self.beacon, *self.stamp,
            "-o", f("e.json"))  # fmt: skip
        derived = ("--path", "epoch/q4", "--shares", "fleet=0.75,account=0.125,leaf=0.125", "--beacon", self.beacon)
        run("key", "derive", f("master.key"), *derived, "-o", f("epoch.key"))
        for name, path in (("fleet", "fleet"), ("account", "account/1"), ("coin", "coin")):
            run("key", "derive", f("epoch.key"), "--path", f"epoch/q4/{path}", "-o", f(f"{name}.key"))
        for name, path in (("fleet", "fleet"), ("account", "account/1")):
            run("commit", "prove", f("e.json"), "--key", f("epoch.key"), "--path", f"epoch/q4/{path}",
                "-o", f(f"{name}-proof.json"))  # fmt: skip
        self.epoch = read_key(str(f("epoch.key")))

    def file(self, name: str) -> Path:
        """A file of the folder."""
        return self.folder / name

    def answers(self, *, marked: bool) -> Callable[[str], str]:
        """What a suspect says that repeats the sampler's tokens, or one that draws by itself."""
        words = [i for t, i in sorted(self.tokenizer.get_vocab().items()) if t[:1] == "Ġ" and t[1:].isalpha()]
        logits = np.full((1, 4096), -np.inf)
        logits[0, words] = np.random.default_rng(0).normal(size=len(words))
        sampler, rng, said = Sampler(self.epoch), np.random.default_rng(1), {}

        def answer(prompt: str) -> str:
            number = said[prompt] = said.get(prompt, 0) + 1
            if not marked:
                return self.tokenizer.decode(rng.choice(words, size=TOKENS).tolist())
            response = sampler.start(Request(f"{prompt}-{number}", account="1"))
            for _ in range(TOKENS):
                sampler.draw([response], logits)
            return self.tokenizer.decode(response.tracker.tokens)

        return answer

    def closed(self, name: str, *, marked: bool, options: tuple = (), evidence: tuple = ()) -> str:
        """Plan, collect and make evidence on an endpoint: the evidence file's name."""
        f = self.file
        created = int(time.time()) + 1
        with OpenAIServer(self.answers(marked=marked), created=created) as suspect:
            asked = ("--base-url", suspect.url, "--model", "suspect", "--repeat", REPEAT, "--concurrency", 2)
            limits = ("--max-tokens", 99, "--temperature", 0.7)
            run("plan", "new", "--hypothesis", "closed", "--name", name, "--key", f("fleet.key"), "--tokenizer",
                f("tokenizer.json"), *asked, *limits, "--prompts", f("prompts.txt"), "--system", "none",
                "--top-p", "endpoint", "--logprobs", "none", "--suspect", f"model {name}", "--alpha", "1e-6",
                "--family", name, "--correction", "none", "--no-filters", "--no-inputs", "--n", QUESTIONS,
                "--decoys", 200, "--repeated-windows", "skip", "--pair-weights", "distinct", "--token-ids", "no",
                "--with-prompts", "no", "--served", "no", "--input-format", "jsonl", *options,
                "-o", f(f"{name}-draft.json"))  # fmt: skip
            run("plan", "commit", f(f"{name}-draft.json"), "--register", f("register.jsonl"), *self.stamp,
                "-o", f(f"{name}-plan.json"))  # fmt: skip
            run("collect", f("prompts.txt"), *asked, *limits, "--plan", f(f"{name}-plan.json"),
                "--register", f("register.jsonl"), "-o", f(f"{name}-answers.jsonl"))  # fmt: skip
        run("evidence", f(f"{name}-plan.json"), "--input", f"input={f(f'{name}-answers.jsonl')}",
            "--input", f"tokenizer={f('tokenizer.json')}", "--input", f"asked={f('prompts.txt')}",
            "--key", f("fleet.key"), "--signer", f("signer.pem"), "--register", f("register.jsonl"),
            "--master", f("m.json"), "--epoch", f("e.json"), "--slot", f("fleet-proof.json"), *evidence,
            "-o", f(f"{name}.json"))  # fmt: skip
        return f"{name}.json"

    def pairs(self, n: int = 40) -> None:
        """Twins that were drawn while serving, committed, and how likely a student holds them."""
        f, rng = self.file, np.random.default_rng(2)
        coins, lines, scores = read_key(str(f("coin.key"))), [], []
        for i in range(n):
            name, members = f"r{i}-twin", (Member(f"first answer {i}"), Member(f"second answer {i}"))
            served = coins.coin(name)
            pair = Pair.of(id=name, prompt=f"question {i}", members=members, served=served, drawn="serving",
                           account=f"account {i % 4}", request=f"r{i}")  # fmt: skip
            lines.append(pair.to_json() + b"\n")
            likely = [-20.0 - rng.random(), -20.0 - rng.random()]
            likely[served] += 5 * (rng.random() < 0.95)
            scores.append(
                Likelihood(
                    id=name, digests=pair.digests, tokens=(5, 5), log_likelihood=tuple(likely), suspect="model twin"
                )
            )
        f("pairs.jsonl").write_bytes(b"".join(lines))
        f("likelihoods.jsonl").write_bytes(b"".join(s.to_json() + b"\n" for s in scores))
        run("commit", "log", f("pairs.jsonl"), "--epoch", f("e.json"), *self.stamp, "-o", f("pairs-log.json"))

    def twin(self, name: str) -> str:
        """Plan and make evidence on open weights by the twin test: the evidence file's name."""
        f = self.file
        run("plan", "new", "--hypothesis", "twin", "--name", name, "--key", f("epoch.key"), "--weights",
            f("likelihoods.jsonl"), "--suspect", f"model {name}", "--alpha", "1e-6", "--family", name,
            "--correction", "none", "--no-filters", "--input", f"pairs={f('pairs.jsonl')}", "--n", 40,
            "--scores", "likelihoods", "--coins", "recomputed", "--statistic", "sign", "--missing", "loss",
            "--reference", "none", "-o", f(f"{name}-draft.json"))  # fmt: skip
        run("plan", "commit", f(f"{name}-draft.json"), "--register", f("twin-register.jsonl"), *self.stamp,
            "-o", f(f"{name}-plan.json"))  # fmt: skip
        run("evidence", f(f"{name}-plan.json"), "--input", f"pairs={f('pairs.jsonl')}",
            "--input", f"likelihoods={f('likelihoods.jsonl')}", "--key", f("coin.key"), "--signer", f("signer.pem"),
            "--register", f("twin-register.jsonl"), "--master", f("m.json"), "--epoch", f("e.json"),
            "--log", f"pairs={f('pairs-log.json')}", "-o", f(f"{name}.json"))  # fmt: skip
        return f"{name}.json"

    def account_pairs(self, accounts: int = 12, ring: int = 4, pairs: int = 30) -> None:
        """Pairs of people by their names, sealed, redacted and committed; a student that prefers those of a ring."""
        f, rng = self.file, np.random.default_rng(3)
        coins, lines, scores, groups = read_key(str(f("coin.key"))), [], [], []
        names = [f"{rng.bytes(4).hex()}@customer.example" for _ in range(accounts)]
        for i in range(accounts * pairs):
            request, place = f"q{i}", i % accounts
            name = f"{request}-twin"
            members = (Member(f"one answer {i}"), Member(f"another answer {i}"))
            served = coins.coin(name)
            pair = Pair.of(id=name, prompt=f"question {i}", members=members, served=served, drawn="serving",
                           account=names[place], conversation=f"talk {i} of {names[place]}",
                           request=request)  # fmt: skip
            lines.append(pair.to_json() + b"\n")
            likely = [-20.0 - rng.random(), -20.0 - rng.random()]
            likely[served] += 5 * (rng.random() < 0.98) * (place < ring)
            scores.append(Likelihood(id=name, digests=pair.digests, tokens=(5, 5), log_likelihood=tuple(likely),
                                     suspect="model accounts"))  # fmt: skip
        f("named-pairs.jsonl").write_bytes(b"".join(lines))
        f("account-likelihoods.jsonl").write_bytes(b"".join(s.to_json() + b"\n" for s in scores))
        for place, name in enumerate(names):
            groups.append({"account": name, "group": "ring" if place < ring else "ordinary"})
        f("named-groups.jsonl").write_text("".join(json.dumps(g) + "\n" for g in groups))
        run("aliases", "new", f("named-pairs.jsonl"), "-o", f("sealed.json"))
        for kind, options in (("pairs", ()), ("groups", ("--groups",))):
            run("redact", f(f"named-{kind}.jsonl"), "--aliases", f("sealed.json"), *options,
                "-o", f(f"account-{kind}.jsonl"))  # fmt: skip
        run("commit", "log", f("account-pairs.jsonl"), "--epoch", f("e.json"), *self.stamp,
            "-o", f("account-pairs-log.json"))  # fmt: skip

    def accounts(self, name: str) -> str:
        """Plan and make evidence on who was used, on open weights: the evidence file's name."""
        f = self.file
        n = f("account-pairs.jsonl").read_bytes().count(b"\n")
        run("plan", "new", "--hypothesis", "accounts", "--name", name, "--key", f("epoch.key"), "--weights",
            f("account-likelihoods.jsonl"), "--suspect", f"model {name}", "--alpha", "1e-3", "--family", name,
            "--correction", "none", "--no-filters", "--input", f"pairs={f('account-pairs.jsonl')}",
            "--input", f"groups={f('account-groups.jsonl')}", "--n", n, "--scores", "likelihoods",
            "--coins", "recomputed", "--missing", "loss", "--reference", "none", "--aliases", f("sealed.json"),
            "--fdr", "0.01", "-o", f(f"{name}-draft.json"))  # fmt: skip
        run("plan", "commit", f(f"{name}-draft.json"), "--register", f("account-register.jsonl"), *self.stamp,
            "-o", f(f"{name}-plan.json"))  # fmt: skip
        run("evidence", f(f"{name}-plan.json"), "--input", f"pairs={f('account-pairs.jsonl')}",
            "--input", f"groups={f('account-groups.jsonl')}",
            "--input", f"likelihoods={f('account-likelihoods.jsonl')}", "--key", f("coin.key"),
            "--signer", f("signer.pem"), "--register", f("account-register.jsonl"), "--master", f("m.json"),
            "--epoch", f("e.json"), "--log", f"pairs={f('account-pairs-log.json')}",
            "-o", f(f"{name}.json"))  # fmt: skip
        return f"{name}.json"

    def policy(self, name: str = "policy.json", *, required: tuple[str, ...] = (), released: str = "") -> Path:
        """A policy that trusts this authority and signer; the suspect comes out an hour from now."""
        released = released or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        wanted = [w for step in required for w in ("--require", step)] or ["--require", "none"]
        run("policy", "--signer", self.file("signer.pem"), *self.certs, "--released", released,
            "--beacon-value", self.beacon, *wanted, "-o", self.file(name))  # fmt: skip
        return self.file(name)


def outcomes(printed: str) -> dict[str, str]:
    """Outcome by step, of what `radiolabel check` printed."""
    return {step["id"]: step["outcome"] for step in json.loads(printed)["steps"]}


def _at(number: int) -> float:
    at = round_time(QUICKNET, number)
    assert at is not None
    return at.timestamp()


def _round_at(when: float) -> int:
    return max(1, int((when - _at(1)) // 3))
