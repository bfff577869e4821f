"""The page's part on accounts: `ring` and `crowd`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from benchmarks.lab.naming import FDR, FWER, RING
from benchmarks.lab.tables import table
from verify.power import Need, twin_need
from verify.twin_finding import wilson

ENOUGH: Final = 0.95  # share of the ring that should be named
SIZES: Final = (200, 1_000, 25_000)  # accounts, for what would be needed
NEEDED: Final = ("share-20", "share-5", "epochs-3", "share-1")
LEVELS: Final = f"Holm at a family-wise {FWER:g}, e-BH at a false discovery rate of {FDR:g}"


def ring_part(record: dict[str, Any]) -> Iterator[str]:
    """Transformers."""
    yield (
        "200 accounts with 100 pairs of 48 tokens each, drawn by the micro teacher through the project's own sampler "
        "under one epoch key: half of the windows on the fleet channel, a quarter on the account's own. The coins are "
        "those of the epoch's node. Prompts come from a stock of 4,000, so most were asked through several accounts. "
        "The answers of a ring of 20 accounts enter the training of a nano student; so does half of what 20 others "
        "were served and published; 160 are ordinary. The share is that of the ring in the training tokens; each of "
        "its accounts has a twentieth of it. One student a row, one pass unless the row says otherwise, scored by the "
        "ratio to the base."
    )
    yield (
        f"Named: {LEVELS}, by `radiolabel accounts`; 95 % Wilson intervals over accounts. *At least*: so many accounts "
        "of the ring were used, by closed testing at the family-wise level, for who knows which accounts belong "
        "together. *Whole*: log10 p of the ring tested as one. Runs with the same seed have the same ring, and all "
        "have the same pairs: the rows are no independent repetitions."
    )
    rows = []
    for name, run in record.items():
        c = run["configuration"]
        for test in run["tests"]:
            roles = test["roles"]
            others = [named(roles[role]) if role in roles else "" for role in ("published half", "ordinary")]
            whole = test.get("group_log10_p", "")
            for role in [role for role in roles if role.startswith(RING)] or [""]:
                own = roles.get(role)
                rows.append(
                    (what(name, role), f"{100 * c['share'] if c['guilty'] else 0:g} %", c["seed"], test["pairs"],
                     f"{own['win_rate']:.3f}" if own else "",
                     *(found(own, kind) if own else "" for kind in ("fwer", "fdr")),
                     test["at_least"]["least"] if own else "", whole, *others)
                )  # fmt: skip
    yield table(
        ("student", "share", "seed", "pairs an account", "win rate of the ring", "ring named, Holm",
         "ring named, e-BH", "at least", "whole", "published, Holm / e-BH", "ordinary, Holm / e-BH"), rows
    )  # fmt: skip
    yield (
        "*none-20*: no ring; the student had as many answers of the same teacher to others under other keys. "
        "*dose-20*: accounts of the ring enter with 10, 50 or 100 % of their answers, as those of a reseller would "
        "whose customers are many. *edited*: 30 % of the answers' places drawn anew by the base. *truncated*: half "
        "of every answer. *deduplicated*: one answer a prompt. *best*: the half of the answers that the base holds "
        "for likeliest. *after*: as much clean text again after the training. *merged-20*: the student of *share-20*, "
        "with four accounts of one role taken as one of 400 pairs. What the trainer dropped, clean text replaced: "
        + ", ".join(
            f"*{name}* ends with {100 * run['share']:.2g} % of the ring"
            for name, run in record.items()
            if abs(run["share"] - run["configuration"]["share"]) > 1e-4 and run["configuration"]["guilty"]
        )
        + ". The share of the published answers is half of that in the second column."
    )
    last = [run["tests"][-1]["roles"] for run in record.values() if run["configuration"].get("merged", 1) == 1]
    own = [role for roles in last for name, role in roles.items() if name.startswith(RING)]
    hits = sum(round(role["fwer"]["rate"] * role["accounts"]) for role in own)
    yield (
        f"**A miss**: with 100 pairs an account Holm names {hits} of {sum(role['accounts'] for role in own)} accounts "
        "of the rings in all these students together (those of *merged-20* aside). One pass leaves too little of so "
        "few answers in a nano student to name an account alone; the ring as a whole stands out long before its "
        "accounts. How many pairs it takes is in the next table."
    )
    yield (
        f"Pairs an account that the sign test needs to reach the first bound of Holm, {FWER:g} over all accounts, with "
        "probability 0.95, at the win rate of these rings with all their pairs (and at the ends of its 95 % Wilson "
        "interval): an estimate, which takes all accounts of a ring as alike."
    )
    needs = []
    for name in NEEDED:
        if name in record:
            own = record[name]["tests"][-1]["roles"][RING]
            n = own["accounts"] * record[name]["tests"][-1]["pairs"]
            interval = wilson(round(own["win_rate"] * n), n)
            needs.append((name, f"{own['win_rate']:.3f}", *(needed(own["win_rate"], interval, m) for m in SIZES)))
    yield table(("student", "win rate", *(f"{m:,} accounts" for m in SIZES)), needs)


def crowd_part(record: dict[str, Any]) -> Iterator[str]:
    """N-gram models."""
    yield (
        "The teacher and the students are interpolated trigram models (`benchmarks/lab/ngram.py`): answers of 32 "
        "tokens without a mark, which the twin test does not need, coins from the campaign's seed, prompts from the "
        "same stock for all. A tenth of the accounts is the ring, as many published half of their answers, and the "
        "student passed over the clean text as often as the share takes and over the answers once. Campaigns have "
        "seeds, pairs, coins and students of their own; clean text and teacher are common to all. "
        "**An n-gram model never forgets what it counted: these students remember far more than a transformer of one "
        "pass, and the pairs that they need are no forecast for one; the table above has transformers.**"
    )
    yield (
        f"Named: {LEVELS}; mean over campaigns, 95 % interval clustered by campaign, and the fewest in a campaign. "
        "*False*: campaigns in which an ordinary account was named, with the 95 % Wilson interval of the rate. "
        "*False share*: ordinary accounts among all that e-BH named, mean over campaigns (upper end of its 95 % "
        "normal interval) and largest. Without a reference only *thousand-1* is shown; the results' file has all. "
        "The student *dose-1* took 10, 25, 50 or 100 % of the answers of an account of its ring."
    )
    rows = []
    kinds = {kind: one for kind, one in record.items() if kind != "nobody"}
    for kind, one in kinds.items():
        c = one["configuration"]
        for score in ("ratio", "plain") if kind == "thousand-1" else ("ratio",):
            for test in one[score]:
                for role in [role for role in test["roles"] if role.startswith(RING)]:
                    own, share = test["roles"][role], test["false_share"]
                    rows.append(
                        (what(kind, role), f"{100 * c['share']:g} %", f"{c['accounts']:,}", c["campaigns"],
                         "ratio to the teacher" if score == "ratio" else "no reference", test["pairs"],
                         f"{own['win_rate']:.3f}", *(clustered(own, k) for k in ("fwer", "fdr")),
                         *(false(test, k) for k in ("fwer", "fdr")),
                         f"{share['mean']:.5f} (at most {share['interval'][1]:.4f}), {share['largest']:.4f}",
                         clustered(test["roles"]["published half"], "fwer"))
                    )  # fmt: skip
    yield table(
        ("campaigns", "share", "accounts", "number", "score", "pairs an account", "win rate", "ring named, Holm",
         "ring named, e-BH", "false, Holm", "false, e-BH", "false share", "published named, Holm"), rows
    )  # fmt: skip
    for kind, one in kinds.items():
        if one["configuration"]["ring"] and one["configuration"]["doses"] == [1.0]:
            yield enough(kind, one)
    if "nobody" in record:
        yield from nobody_part(record["nobody"])


def access_part(record: dict[str, Any]) -> Iterator[str]:
    """What a suspect lets be seen."""
    yield (
        "Nano students of which the ring's answers are 20 % of the training, as *share-20* above (the first of them), "
        "after one, three and ten passes, by what their owner lets be seen. *all*: the log probability of every token "
        "of a given text, as with open weights. *top K*: at each position of a given text those of the K likeliest "
        "tokens; the rest of the probability is shared out as the base shares it. *text, N*: N answers to each prompt "
        "at temperature 1, by how alike they are to the served answer and to its twin. The reference is the base but "
        "for texts. 100 pairs an account, 20 accounts of a ring among 200; named and *whole* as above. *Needed*: pairs "
        "an account to reach the first bound of Holm over 1,000 accounts with probability 0.95 at this win rate (and "
        "at the ends of its 95 % Wilson interval): an estimate."
    )
    rows = []
    for run in record.values():
        how = run["configuration"]
        for seen, test in run["seen"].items():
            own, n = test["roles"][RING], test["roles"][RING]["accounts"] * test["pairs"]
            low, high = wilson(round(own["win_rate"] * n), n)
            rows.append(
                (how["epochs"], how["seed"], seen, f"{own['win_rate']:.3f} ({low:.3f} to {high:.3f})",
                 *(found(own, kind) for kind in ("fwer", "fdr")), test["at_least"]["least"], test["group_log10_p"],
                 needed(own["win_rate"], (low, high), 1_000), named(test["roles"]["ordinary"]))
            )  # fmt: skip
    yield table(
        ("passes", "seed", "seen", "win rate of the ring", "ring named, Holm", "ring named, e-BH", "at least", "whole",
         "needed", "ordinary, Holm / e-BH"), rows
    )  # fmt: skip
    texts = [test for run in record.values() for seen, test in run["seen"].items() if seen.startswith("text")]
    roles = [test["roles"][RING] for test in texts]
    hits, many = sum(round(r["fwer"]["rate"] * r["accounts"]) for r in roles), sum(r["accounts"] for r in roles)
    strongest = min(test["group_log10_p"] for test in texts)
    yield (
        f"**A miss**: text alone names {hits} of {many} accounts of these rings, over all of its rows, and of a ring "
        f"as a whole log10 p is {strongest:g} at the least: these students do not say often enough what the ring was "
        "served. The likeliest 20 tokens of a position keep part of what all of them give; the column of the needed "
        "pairs says what the rest costs. Rows of one student are of the same pairs. To this test an endpoint that "
        "gives log probabilities for its own answers only is *text*; its candidates serve the keyed tests "
        "(`radiolabel test open`)."
    )


def nobody_part(record: dict[str, Any]) -> Iterator[str]:
    """Campaigns without a ring."""
    whole, parts = record["all"], [record[kind] for kind in ("none", "none-again") if kind in record]
    yield (
        "**No ring**: 1,000 accounts a campaign, and the student had as many answers of the same teacher to other "
        "prompts, a fifth of its tokens. The sign of every untied pair is a fair coin here, whatever the student is: "
        f"a test that is exact at {FWER:g} names somebody in up to {100 * FWER:g} % of such campaigns. That nothing is "
        "ever named is not to be had from a test that has any power. *Chance* is that of a name by Holm, exactly: "
        "below the level, since wins are whole numbers. Campaigns are independent; rows are not, as they are of the "
        "same campaigns, with more and more of the same pairs, by two scores. Intervals are exact (Clopper and "
        f"Pearson, 95 %). The first {parts[0]['campaigns']:,} campaigns had names in more rows than were expected. So "
        "others were made, with other seeds; their number was fixed before the first of them."
    )
    heads = [f"Holm, {part['campaigns']:,} campaigns" for part in parts]
    rows = []
    for place, row in enumerate(whole["rows"]):
        each = [part["rows"][place]["fwer"]["campaigns"] for part in parts]
        holm, e_bh = row["fwer"], row["fdr"]
        rows.append(
            ("ratio to the teacher" if row["score"] == "ratio" else "no reference", row["pairs"],
             f"{100 * row['chance']:.3f} %", *each, *(within(x, whole["campaigns"]) for x in (holm, e_bh)))
        )  # fmt: skip
    rows.append(
        ("any of them", "", "", *(part["any"]["fwer"]["campaigns"] for part in parts),
         *(within(whole["any"][kind], whole["campaigns"]) for kind in ("fwer", "fdr")))
    )  # fmt: skip
    yield table(("score", "pairs an account", "chance", *heads, "Holm, all", "e-BH, all"), rows)
    said = "; ".join(f"{part['hits']} where {part['expected']:.2f} were to be expected" for part in parts)
    least = min(row["fwer"]["interval"][0] for row in whole["rows"])
    most = max(row["fwer"]["campaigns"] for row in whole["rows"])
    yield (
        f"Over all rows, a campaign counted once in each: {said}; in all {whole['hits']} of {len(whole['rows'])} x "
        f"{whole['campaigns']:,}, where {whole['expected']:.2f} were to be expected and the level allows "
        f"{FWER * len(whole['rows']) * whole['campaigns']:g}. No row has a name in more than {most} of "
        f"{whole['campaigns']:,} campaigns, and every interval holds {100 * FWER:g} % or lies below it"
        f"{'' if least <= FWER else ', but one'}: nothing here speaks against the level."
    )


def within(found: dict[str, Any], n: int) -> str:
    """Campaigns with the exact interval of their rate."""
    low, high = found["interval"]
    return f"{found['campaigns']} of {n:,} ({100 * low:.2f} to {100 * high:.2f} %)"


def enough(kind: str, one: dict[str, Any]) -> str:
    """The fewest pairs that named enough of the ring."""
    parts = []
    for score, name in (("ratio", "with the teacher as reference"), ("plain", "without")):
        ring = [(test["pairs"], test["roles"][RING]) for test in one[score]]
        mean = [n for n, role in ring if role["fwer"]["rate"] >= ENOUGH]
        every = [n for n, role in ring if role["fwer"]["least"] >= ENOUGH * role["accounts"]]
        first, all_of_them = (str(some[0]) if some else "more than were tested" for some in (mean, every))
        parts.append(f"{name} {first} on average, {all_of_them} in every campaign")
    return (
        f"*{kind}*, a share of {100 * one['configuration']['share']:g} %: of the numbers of pairs an account that were "
        f"tested, the first at which Holm names {100 * ENOUGH:g} of 100 accounts of the ring is {'; '.join(parts)}."
    )


def needed(rate: float, interval: tuple[float, float], accounts: int) -> str:
    """Pairs with their range."""
    need = Need.over(lambda r: twin_need(r, alpha=FWER / accounts, power=0.95), rate, interval)
    n, low, high = (f"{x:,}" if x else "no amount" for x in (need.n, need.low, need.high))
    return f"{n} ({low} to {high})"


def what(name: str, role: str) -> str:
    """A run, with the dose if it has several."""
    return name + role.removeprefix(RING)


def named(role: dict[str, Any]) -> str:
    """Accounts named by either rule."""
    counts = (round(role[kind]["rate"] * role["accounts"]) for kind in ("fwer", "fdr"))
    return " / ".join(map(str, counts)) + f" of {role['accounts']}"


def found(role: dict[str, Any], kind: str) -> str:
    """Accounts of one campaign named, with the interval of the share."""
    n = round(role[kind]["rate"] * role["accounts"])
    low, high = wilson(n, role["accounts"])
    return f"{n} of {role['accounts']} ({100 * low:.0f} to {100 * high:.0f} %)"


def clustered(role: dict[str, Any], kind: str) -> str:
    """The mean share named."""
    share = role[kind]
    low, high = share["interval"]
    return f"{100 * share['rate']:.1f} % ({100 * low:.1f} to {100 * high:.1f}), least {share['least']:,}"


def false(test: dict[str, Any], kind: str) -> str:
    """Campaigns with an ordinary account named."""
    wrong = test[f"false_{kind}"]
    return f"{wrong['campaigns']} (at most {100 * wrong['interval'][1]:.1f} %)"


def joined_part(record: dict[str, Any]) -> Iterator[str]:
    """Twins and marks together."""
    yield (
        "The students of the section above, where all is seen. Each also answered the 4,000 prompts of the stock four "
        "times, and its answers, as one text, were traced under the keys of all 200 accounts (`radiolabel trace`): an "
        "e-value of each account's own mark. The product of the two e-values of an account is an e-value, since the "
        "student's own answers depend on no coin. *e*: log10, quartiles over accounts. *z*: mean of the accounts' "
        "marks, in standard deviations of one. Named: e-BH at a false discovery rate of "
        f"{FDR:g} over 200 accounts."
    )
    rows = []
    for run in record.values():
        how = run["configuration"]
        for way, roles in run["ways"].items():
            own, rest = roles[RING], roles["ordinary"]
            rows.append(
                (how["epochs"], way, " / ".join(f"{x:.1f}" for x in own["log10_e"]),
                 f"{own['fdr']} of {own['accounts']}", " / ".join(f"{x:.1f}" for x in rest["log10_e"]),
                 f"{rest['fdr']} of {rest['accounts']}",
                 f"{run['z']['ring']:+.2f} / {run['z']['others']:+.2f}" if way == "mark" else "")
            )  # fmt: skip
    yield table(
        ("passes", "by", "e, ring", "ring named", "e, ordinary", "ordinary named", "z, ring / all others"), rows
    )
    marks = [run["ways"]["mark"][RING] for run in record.values()]
    hits, many = sum(m["fdr"] for m in marks), sum(m["accounts"] for m in marks)
    yield (
        f"**A miss**: by their own mark in what the students say {hits} of {many} accounts of the ring are named. A "
        "quarter of the windows of a hundredth of the training is too little for the closed test, and an e-value "
        "below one costs the product what the mark does not bring: decide before looking whether marks are joined. "
        "Served text itself is another matter: there the mark names its account (`python -m benchmarks.trace`)."
    )
