"""Both channels of an account together: its twins, and its own mark in what the students of `access` say.

A student answers every prompt of the stock `TURNS` times. The answers are one text, traced under the keys of all
accounts (`verify.tracing`): an e-value of the mark of each. The twin test's e-value is that of `access` where all is
seen. Their product is an e-value, since the student's own answers depend on keys and suspect, and on no coin
(`verify.accounts.marks`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

import numpy as np

from benchmarks.lab import access, bases, corpus, measures, ring
from benchmarks.lab.family import Transformer
from benchmarks.lab.generation import PROMPT, samples
from benchmarks.lab.naming import FDR, RING
from benchmarks.lab.ring import Recipe
from benchmarks.lab.runs import Result, Run
from verify.accounts.marks import Mark
from verify.accounts.scores import Scores
from verify.accounts.table import account_table
from verify.records import Document
from verify.tracing.keysets import of_epoch
from verify.tracing.scan import Hits, scan
from verify.tracing.texts import corpus as one_text
from watermark.windows import Ids

ESTIMATE: Final = 900
TURNS: Final = 4
WAYS: Final = ("twins", "mark", "both")
STUDENTS: Final = ("share-20", "epochs-3", "epochs-10")


def said(student: Transformer) -> Ids:
    """What the student answers to the stock of prompts, `TURNS` times: (n, length) ids."""
    plan = ring.PLAN
    prompts = corpus.rows(corpus.load().prompts, PROMPT, plan.prompts, np.random.default_rng(plan.seed))
    return np.concatenate([samples(student, prompts, plan.length, seed=7000 + turn) for turn in range(TURNS)])


def marks(answers: Ids) -> Hits:
    """The mark of every account in the answers."""
    documents = (Document(name=str(i), token_ids=ids) for i, ids in enumerate(answers))
    text = one_text(documents, ring.PLAN.width, tokenizer=None, trust_ids=True)
    return scan(text, of_epoch(ring.PLAN.epoch, "account", tuple(map(str, range(ring.ACCOUNTS)))))


def runs() -> Iterator[Run]:
    """One a student."""
    for name in STUDENTS:
        recipe = access.RECIPES[name]
        yield Run(name, asdict(recipe), lambda name=name, recipe=recipe: _measure(name, recipe))  # type: ignore[misc]


def _measure(name: str, recipe: Recipe) -> Result:
    student = bases.kept(f"ring-{name}", ring.SIZE, lambda: ring.trained(recipe))
    served = ring.stock()
    differences = measures.preference(student, served) - ring.reference()
    differences[(served.served == served.twins).all(axis=1)] = 0.0
    found = marks(said(student))
    scores = Scores(
        names=tuple(map(str, range(ring.ACCOUNTS))),
        account=np.repeat(np.arange(ring.ACCOUNTS, dtype=np.int32), ring.PAIRS),
        difference=differences,
        alone=True,
        drawn="serving",
    )
    mark = {str(k): Mark(float(e), served=False) for k, e in zip(found.key, found.log10_e, strict=True)}
    table = account_table(scores, missing="loss", marks=mark)
    alone = account_table(scores, missing="loss")
    nothing = Scores(names=scores.names, account=scores.account, difference=np.zeros_like(differences),
                     alone=True, drawn="serving")  # fmt: skip
    only = account_table(nothing, missing="loss", marks=mark)
    who = np.array(ring.roles(recipe))
    result: Result = {"pairs_scored": int(found.n[0]), "ways": {}}
    for way, one in zip(WAYS, (alone, only, table), strict=True):
        named = set(one.named(FDR, by="e-bh").tolist())
        result["ways"][way] = {
            role: {
                "accounts": int((who == role).sum()),
                "fdr": len(named & set(np.flatnonzero(who == role).tolist())),
                "log10_e": [round(float(x), 3) for x in np.quantile(one.log10_e[who == role], (0.25, 0.5, 0.75))],
                "sum": round(float(one.log10_e[who == role].sum()), 2),
            }
            for role in dict.fromkeys(who.tolist())
        }
    ringed = who == RING
    n, total = int(found.n[0]), found.total[np.argsort(found.key)]
    law = ring.PLAN.epoch.deployment.scheme.law
    z = (total / law.unit - n * law.mean) / (n * law.variance) ** 0.5
    result["z"] = {"ring": round(float(z[ringed].mean()), 3), "others": round(float(z[~ringed].mean()), 3)}
    return result


def report(results: dict[str, Result]) -> Result:
    """By student."""
    return {
        name: {"configuration": asdict(access.RECIPES[name])} | results[name] for name in STUDENTS if name in results
    }
