"""`radiolabel accounts`: the real command line on files."""

import json
from math import comb, log10

import pytest

from tests.cli.conftest import radiolabel
from tests.conftest import make_epoch
from tests.tsa_server import Authority, TSAServer
from verify.accounts import scores
from verify.accounts.sealing import Sealed
from verify.cli import main
from verify.pairs import Likelihood, Member, Pair
from verify.private import create_private
from verify.redaction import redacted
from watermark.keyfile import write_key
from watermark.secret import Secret

EPOCH = make_epoch(3)
ACCOUNTS, PAIRS = 24, 40
RING = ["a00", "a01", "a02"]
WINS = 37  # of the ring; half of all others


def make_pair(of, i, **others):
    number = f"{of}-{i}"
    texts = (f"the blue answer of {number} is long", f"a red reply in {number} was short")
    fields = {"prompt": f"question {number}", "account": of, "served": EPOCH.coin(f"{number}-twin")} | others
    return Pair.of(id=f"{number}-twin", request=number, members=tuple(map(Member, texts)), drawn="serving", **fields)


def make_likelihood(pair, won):
    better = pair.served if won else 1 - pair.served
    values = tuple(-49.0 if member == better else -50.0 for member in (0, 1))
    return Likelihood(id=pair.id, digests=pair.digests, tokens=(9, 9), log_likelihood=values, suspect="suspect")


def write(path, records):
    path.write_bytes(b"".join((r if isinstance(r, bytes) else r.to_json()) + b"\n" for r in records))


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def changed_line(path, number, **fields):
    lines = path.read_text().splitlines()
    lines[number] = json.dumps(json.loads(lines[number]) | fields)
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """24 accounts of 40 pairs, three of whose served answers the suspect prefers; two more pairs name no account."""
    names = [f"a{n:02}" for n in range(ACCOUNTS)]
    pairs = [make_pair(name, i) for i in range(PAIRS) for name in names]
    won = [i < (WINS if name in RING else PAIRS // 2) for i in range(PAIRS) for name in names]
    likelihoods = [make_likelihood(p, w) for p, w in zip(pairs, won, strict=True)]
    pairs += [make_pair("nobody", i, account=None) for i in range(2)]
    write(tmp_path / "pairs.jsonl", pairs)
    write(tmp_path / "l.jsonl", likelihoods)
    answers = [p.members[p.served if w else 1 - p.served].text for p, w in zip(pairs, won, strict=False)]
    write_rows(
        tmp_path / "answers.jsonl",
        [{"prompt": p.prompt, "response": a + " indeed"} for p, a in zip(pairs, answers, strict=False)],
    )
    groups = [("ring", name) for name in RING] + [("card", name) for name in ["a02", "a03", "a04", "a99"]]
    write_rows(tmp_path / "groups.jsonl", [{"account": a, "group": g} for g, a in groups])
    write_key(EPOCH, tmp_path / "epoch.key")
    write_key(EPOCH.coin_key(), tmp_path / "coin.key")
    write_key(make_epoch(4), tmp_path / "other.key")
    write_key(EPOCH.value_key("fleet"), tmp_path / "fleet.key")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder, capsys):
    """run(*arguments) -> (exit code, stdout, stderr) of accounts, in this process, on pairs.jsonl and l.jsonl."""

    def run(*arguments, pairs="pairs.jsonl", by=("--likelihoods", "l.jsonl")):
        code = main(["accounts", pairs, *by, *map(str, arguments)])
        return (code, *capsys.readouterr())

    return run


def found(outcome):
    code, out, err = outcome
    assert (code, err) == (0, "")
    return json.loads(out)


def tail(wins, n):
    """log10 of P(Binomial(n, 1/2) >= wins), from whole numbers."""
    return log10(sum(comb(n, k) for k in range(wins, n + 1))) - n * log10(2)


def test_the_ring_is_named_and_nobody_else(folder):
    code, out, err = radiolabel("accounts", "pairs.jsonl", "--likelihoods", "l.jsonl", cwd=folder)
    f = found((code, out, err))  # not a terminal: JSON
    assert sorted(f["named_fwer"]) == sorted(f["named_fdr"]) == RING
    assert (f["n_accounts"], f["n_pairs"], f["n_missing"], f["n_without_account"]) == (24, 962, 2, 2)
    assert (f["suspect"], f["scored_by"], f["drawn"]) == ("suspect", "log-likelihood per token", "serving")
    assert set(f["sha256"]) == {"pairs", "likelihoods"}
    rows = {row["account"]: row for row in f["accounts"]}
    assert list(rows) == [f"a{n:02}" for n in range(24)]
    ring, other = rows["a00"], rows["a23"]
    assert (ring["wins"], ring["losses"], ring["ties"], ring["pairs"]) == (37, 3, 0, 40)
    assert ring["log10_p"] == pytest.approx(tail(37, 40), abs=1e-9)
    assert ring["log10_p_holm"] == pytest.approx(tail(37, 40) + log10(24), abs=1e-9)  # the smallest of 24
    assert (other["wins"], other["log10_p_holm"], other["log10_e_bh"]) == (20, 0.0, 0.0)
    assert f["sentence"] == (
        "Of 24 accounts, 3 named: the chance of naming any account whose answers did not reach the suspect is at most "
        "0.001. At a false discovery rate of 0.01, 3. Not named does not mean not used. Exploratory: no plan was "
        "committed before looking."
    )


def test_one_line_of_jsonl_is_the_same(run):
    code, out, err = run("--format", "jsonl")
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert json.loads(out) == found(run("--format", "json"))


def test_levels_decide_who_is_named(run):
    p = tail(37, 40) + log10(24)
    for level, names in ((10 ** (p + 1e-6), RING), (10 ** (p - 1e-6), [])):
        assert sorted(found(run("--fwer", level))["named_fwer"]) == names
    e_bh = {row["account"]: row["log10_e_bh"] for row in found(run())["accounts"]}["a00"]
    for level, names in ((10 ** (e_bh + 1e-6), RING), (10 ** (e_bh - 1e-6), [])):
        assert sorted(found(run("--fdr", level))["named_fdr"]) == names


def test_text_for_people_fits_80_columns(folder, run):
    code, out, err = run("--groups", "groups.jsonl", "--format", "text")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    shown = [line.split()[0] for line in out.splitlines() if line.startswith("a0")]
    assert sorted(shown) == RING
    assert "962, 2 without a score (loss)" in out
    rings = next(line.split() for line in out.splitlines() if line.startswith("ring "))
    assert rings[1:5] == ["3", "111", "of", "120"]
    assert rings[-1] == "3"
    assert "- a named account is one whose answers reached the suspect" in out


def test_many_names_are_shortened_and_long_ones_cut(folder, run):
    names = ["\x1b[31m" + "long" * 200] + [f"m{n:02}" for n in range(24)]
    pairs = [make_pair(f"x{i}", 0, account=names[i % 25]) for i in range(25 * PAIRS)]
    write(folder / "pairs.jsonl", pairs)
    write(folder / "l.jsonl", [make_likelihood(p, True) for p in pairs])
    code, out, _ = run("--format", "text")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "and 5 more: --format json has all" in out
    assert sum("1.000" in line for line in out.splitlines()) == 20
    assert "\x1b" not in out
    assert len(found(run())["named_fwer"]) == 25


def test_nobody_is_named_where_nothing_is_preferred(folder, run):
    lines = (folder / "l.jsonl").read_bytes().splitlines()
    write(folder / "l.jsonl", [line for line in lines if b'"a0' not in line])
    changed_line(folder / "l.jsonl", 0, log_likelihood=[-1.0, -1.0])
    f = found(run("--missing", "drop"))
    assert f["named_fwer"] == f["named_fdr"] == []
    assert f["sentence"].startswith("Of 24 accounts, 0 named")
    assert {row["account"]: row["ties"] for row in f["accounts"]}["a10"] == 1
    code, out, _ = run("--missing", "drop", "--format", "text")
    assert (code, "No account stands out." in out) == (0, True)


def test_pairs_without_a_score_count_as_losses_unless_they_are_dropped(folder, run):
    lines = (folder / "l.jsonl").read_bytes().splitlines()
    write(folder / "l.jsonl", [line for line in lines if b'"a00-0-twin"' not in line])
    for missing, expected in (("loss", (36, 4)), ("drop", (36, 3))):
        f = found(run("--missing", missing))
        row = next(row for row in f["accounts"] if row["account"] == "a00")
        assert (f["n_missing"], (row["wins"], row["losses"])) == (3, expected)


def test_groups_are_tested_whole_with_bounds(run):
    f = found(run("--groups", "groups.jsonl"))
    ring, card = f["groups"]
    assert (ring["name"], ring["n_accounts"], ring["n_unknown"], ring["wins"], ring["losses"]) == ("ring", 3, 0, 111, 9)
    assert ring["at_least"] == 3
    assert ring["log10_p"] == pytest.approx(tail(111, 120), abs=1e-9)
    assert ring["log10_p_holm"] == pytest.approx(tail(111, 120) + log10(2), abs=1e-9)
    assert (card["name"], card["n_accounts"], card["n_unknown"], card["at_least"]) == ("card", 3, 1, 1)
    assert "groups" in f["sha256"]
    assert found(run("--groups", "groups.jsonl", "--fwer", "1e-12"))["groups"][0]["at_least"] == 0
    assert found(run())["groups"] == []


def test_marks_are_joined_with_the_twins(folder, run):
    """Of the suspect's own answers the two e-values multiply; in served text they are averaged."""
    write_rows(folder / "marks.jsonl", [
        {"key_path": "epoch/test/account/a10", "log10_e": 9.0, "n_dropped": {"first_h": 1}},
        {"key_path": "epoch/test/account/a11", "log10_e": 9.0, "n_dropped": {"not_served": 1}},
        {"key_path": "epoch/test/account/elsewhere", "log10_e": 9.0, "n_dropped": {}},
    ])  # fmt: skip
    f = found(run("--marks", "marks.jsonl"))
    rows = {row["account"]: row for row in f["accounts"]}
    twin = rows["a12"]["log10_e"]
    assert rows["a10"]["log10_e_twin"] == rows["a11"]["log10_e_twin"] == twin
    assert rows["a10"]["log10_e"] == pytest.approx(twin + 9.0)
    assert rows["a11"]["log10_e"] == pytest.approx(9.0 - log10(2), abs=1e-6)
    assert sorted(f["named_fdr"]) == [*RING, "a10", "a11"]
    assert sorted(f["named_fwer"]) == RING
    assert (f["n_accounts"], "marks" in f["sha256"]) == (24, True)


@pytest.mark.parametrize("key", ["epoch.key", "coin.key"])
def test_coins_are_computed_again_from_the_epochs_key_or_its_node(run, key):
    f, stated = found(run("--key", key)), found(run())
    assert f.pop("coins") == f"recomputed from node {EPOCH.coin_key().id}"
    assert stated.pop("coins") == "as the pairs state them"
    assert f == stated
    code, out, _ = run("--key", key, "--format", "text")
    assert (code, max(map(len, out.splitlines())) <= 80) == (0, True)


@pytest.mark.parametrize("key", ["epoch.key", "coin.key"])
def test_one_coin_that_is_not_the_keys_is_refused(folder, run, key):
    changed_line(folder / "pairs.jsonl", 7, served=1 - EPOCH.coin("a07-0-twin"))
    code, out, err = run("--key", key)
    assert (code, out) == (3, "")
    assert "pair 'a07-0-twin': served is" in err


def test_redacted_pairs_give_the_same(folder, run):
    code, _, err = radiolabel("redact", "pairs.jsonl", "-o", "redacted.jsonl", cwd=folder)
    assert (code, err) == (0, "")
    assert (folder / "redacted.jsonl").read_bytes().count(b"blue") == 0
    whole, without = found(run("--key", "coin.key")), found(run("--key", "coin.key", pairs="redacted.jsonl"))
    assert whole["sha256"].pop("pairs") != without["sha256"].pop("pairs")
    assert whole == without
    code, out, err = run(pairs="redacted.jsonl", by=("--answers", "answers.jsonl"))
    assert (code, out) == (3, "")
    assert "a redacted pair" in err


def test_a_redacted_pairs_word_that_both_are_equal_is_not_enough(folder, run):
    """Whoever wants to hide a loss could call it a tie."""
    pairs = [redacted(make_pair("a00", i)) for i in range(PAIRS)]
    lines = [json.loads(pair.to_json()) for pair in pairs]
    lines[39]["equal"] = True
    write(folder / "l.jsonl", [make_likelihood(make_pair("a00", i), i < WINS) for i in range(PAIRS)])
    write_rows(folder / "pairs.jsonl", lines)
    code, out, err = run()
    assert (code, out) == (3, "")
    assert "says that its texts are equal" in err


@pytest.mark.parametrize("measure", ["ngram", "subsequence"])
def test_answers_alone(run, measure):
    f = found(run("--measure", measure, by=("--answers", "answers.jsonl")))
    assert sorted(f["named_fwer"]) == RING
    assert f["scored_by"] == f"likeness of the suspect's answers ({measure})"
    assert f["suspect"] is None


def test_pairs_may_come_from_standard_input(folder):
    pairs = (folder / "pairs.jsonl").read_text()
    outcome = radiolabel("accounts", "-", "--likelihoods", "l.jsonl", cwd=folder, input=pairs)
    assert sorted(found(outcome)["named_fwer"]) == RING


def test_two_pairs_of_a_conversation_are_taken_by_their_e_value(folder, run):
    pairs = [make_pair("a00", i, conversation=f"c{min(i, 38)}") for i in range(PAIRS)]
    write(folder / "pairs.jsonl", pairs)
    write(folder / "l.jsonl", [make_likelihood(p, True) for p in pairs])
    row = found(run())["accounts"][0]
    assert row["log10_p"] == -row["log10_e"]
    assert row["log10_p"] > tail(40, 40)


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--key", "other.key"), 3, "and the coin of this key is"),
        (("--key", "fleet.key"), 2, "fleet.key is not an epoch key or its node of coins"),
        (("--groups", "twice.jsonl"), 2, "twice.jsonl:2: the account is in this group already"),
        (("--groups", "pairs.jsonl"), 2, "expected account and group"),
        (("--groups", "none.jsonl"), 2, "none.jsonl: cannot be opened"),
        (("--marks", "fleet.jsonl"), 2, "expected a finding with key_path epoch/NAME/account/SLOT and log10_e"),
        (("--marks", "both.jsonl"), 3, "account 'a01' is there twice"),
        (("--marks", "-", "--groups", "-"), 2, "standard input can be one of the files"),
        (("--fwer", "0"), 2, "--fwer"),
        (("--fdr", "nan"), 2, "--fdr"),
        (("--answers", "answers.jsonl"), 2, "give either --likelihoods or --answers"),
    ],
)
def test_bad_input_is_refused_with_its_reason(folder, run, options, code, says):
    write_rows(folder / "twice.jsonl", [{"account": "a01", "group": "g"}] * 2)
    write_rows(folder / "fleet.jsonl", [{"key_path": "epoch/e/fleet", "log10_e": 1.0}])
    write_rows(folder / "both.jsonl", [{"key_path": "epoch/e/account/a01", "log10_e": x} for x in (1.0, 2.0)])
    status, out, err = run(*options)
    assert (status, out) == (code, "")
    assert says in err


def test_neither_likelihoods_nor_answers(run):
    code, out, err = run(by=())
    assert (code, out) == (2, "")
    assert "give either --likelihoods or --answers" in err


def test_pairs_that_name_no_account_are_refused(folder, run):
    pairs = [make_pair("a00", i, account=None) for i in range(3)]
    write(folder / "pairs.jsonl", pairs)
    write(folder / "l.jsonl", [make_likelihood(p, True) for p in pairs])
    code, out, err = run()
    assert (code, out) == (3, "")
    assert "no pair of 3 names an account\nhint: embed takes --account" in err


def test_likelihoods_of_other_texts_are_refused(folder, run):
    changed_line(folder / "l.jsonl", 5, digests=["sha256:" + "0" * 64] * 2)
    code, out, err = run()
    assert (code, out) == (3, "")
    assert "is of other texts than the pair of this id" in err


def test_a_file_that_changes_while_it_is_read_is_refused(folder, run, monkeypatch):
    """The finding would name a digest of something else."""
    taken = scores.Scores.of.__func__

    def slow(cls, *arguments, **options):
        with open(folder / "l.jsonl", "a") as file:
            file.write("\n")
        return taken(cls, *arguments, **options)

    monkeypatch.setattr(scores.Scores, "of", classmethod(slow))
    code, out, err = run()
    assert (code, out) == (3, "")
    assert "l.jsonl: changed while it was read" in err


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with TSAServer(Authority(tmp_path_factory.mktemp("tsa"))) as running:
        yield running


@pytest.fixture
def planned(folder, monkeypatch, capsys, server):
    """planned(**options) commits a twin plan to plan.json."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def planned(**changed):
        options = {"coins": "recomputed", "statistic": "sign", "n": 962} | changed
        words = ["--hypothesis", "twin", "--name", "ring", "--family", "ring", "--correction", "none", "--alpha",
                 "0.001", "--key", "epoch.key", "--suspect", "rival", "--weights", "sha256:" + "0" * 64, "--scores",
                 "likelihoods", "--reference", "none", "--missing", "loss", "--no-filters", "--input",
                 "pairs=pairs.jsonl"]  # fmt: skip
        words += [word for name, value in options.items() for word in (f"--{name}", str(value))]
        assert main(["plan", "new", *words, "-o", "draft.json", "--force"]) == 0
        stamp = ["--tsa", server.url, "--tsa-certs", str(server.authority.roots_file)]
        assert main(["plan", "commit", "draft.json", "--register", "r.jsonl", "-o", "plan.json", *stamp]) == 0
        capsys.readouterr()

    return planned


def test_a_plan_is_followed(run, planned):
    planned()
    f = found(run("--key", "epoch.key", "--plan", "plan.json"))
    assert sorted(f["named_fwer"]) == RING
    assert f["plan"].startswith("sha256:")
    assert f["sentence"].endswith(f"The plan decides, {f['plan'][:23]}...: ring: found if p is at most 0.001.")
    code, out, _ = run("--key", "epoch.key", "--plan", "plan.json", "--format", "text")
    assert (code, max(map(len, out.splitlines())) <= 80) == (0, True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "coins is 'stated', and plan.json says 'recomputed'"),
        (("--key", "other.key"), "key has id"),
        (("--key", "epoch.key", "--fwer", "0.01"), "alpha is 0.01, and plan.json says 0.001"),
        (("--key", "epoch.key", "--missing", "drop"), "missing is 'drop', and plan.json says 'loss'"),
    ],
)
def test_what_is_not_the_plans_is_refused(run, planned, options, says):
    planned()
    code, out, err = run(*options, "--plan", "plan.json")
    assert (code, out) == (3, "")
    assert says in err


def test_other_pairs_than_the_plans_are_refused(folder, run, planned):
    planned()
    lines = (folder / "pairs.jsonl").read_bytes().splitlines()
    write(folder / "pairs.jsonl", lines[:-1])
    code, out, err = run("--key", "epoch.key", "--plan", "plan.json")
    assert (code, out) == (3, "")
    assert "pairs is not the file of the plan" in err


@pytest.mark.parametrize(
    ("changed", "says"),
    [({"n": 961}, "n is 962, and plan.json says 961"), ({"statistic": "rank"}, "statistic is 'sign'")],
)
def test_a_plan_for_something_else_is_refused(run, planned, changed, says):
    planned(**changed)
    code, out, err = run("--key", "epoch.key", "--plan", "plan.json")
    assert (code, out) == (3, "")
    assert says in err


@pytest.fixture
def planned_accounts(folder, monkeypatch, capsys, server):
    """planned_accounts(m, tests) commits a plan for m accounts, of which one has pairs: 20 wins."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def planned_accounts(m, tests, *options):
        create_private("sealed.json", Sealed.of(Secret(bytes(32)), [f"name {i}" for i in range(m)]).to_json(), "sealed")
        pairs = [make_pair(f"q{i}", 0, account="alias-1") for i in range(20)]
        write(folder / "pairs.jsonl", pairs)
        write(folder / "l.jsonl", [make_likelihood(p, True) for p in pairs])
        write_rows(folder / "groups.jsonl", [{"account": "alias-1", "group": "g"}])
        words = ["--hypothesis", "accounts", "--name", "ring", "--correction", "holm" if tests > 1 else "none",
                 "--alpha", "0.001", "--key", "epoch.key", "--suspect", "suspect", "--weights", "sha256:" + "0" * 64,
                 "--scores", "likelihoods", "--reference", "none", "--missing", "loss", "--no-filters", "--input",
                 "pairs=pairs.jsonl", "--coins", "recomputed", "--n", "20", "--aliases", "sealed.json", "--fdr",
                 "0.01", *options]  # fmt: skip
        words += [word for name in ["ring", *(f"other {i}" for i in range(tests - 1))] for word in ("--family", name)]
        assert main(["plan", "new", *words, "-o", "draft.json", "--force"]) == 0
        stamp = ["--tsa", server.url, "--tsa-certs", str(server.authority.roots_file)]
        assert main(["plan", "commit", "draft.json", "--register", "r.jsonl", "-o", "plan.json", *stamp]) == 0
        capsys.readouterr()

    return planned_accounts


UNDER = ("--key", "epoch.key", "--plan", "plan.json")


@pytest.mark.parametrize(("m", "tests", "names"), [(900, 1, ["alias-1"]), (1200, 1, []), (900, 2, [])])
def test_under_a_plan_the_family_is_the_plans_and_not_what_is_in_the_file(run, planned_accounts, m, tests, names):
    """2^-20 is below 0.001 / 900, and above 0.001 / 1200 and 0.0005 / 900; alone in its file it would always do."""
    planned_accounts(m, tests)
    f = found(run(*UNDER))
    assert (f["named_fwer"], f["n_accounts"], f["fwer"]) == (names, m, 0.001 / tests)
    assert f["accounts"][0]["log10_p_holm"] == pytest.approx(log10(m) - 20 * log10(2))
    assert (f["accounts"][1]["pairs"], f["accounts"][1]["log10_p"], f["accounts"][1]["log10_e"]) == (0, 0.0, 0.0)


def test_under_a_plan_neither_groups_nor_marks_come_later(folder, run, planned_accounts):
    planned_accounts(30, 1)
    write_rows(folder / "marks.jsonl", [{"key_path": "epoch/test/account/alias-2", "log10_e": 9.0}])
    for option in ("groups", "marks"):
        code, out, err = run(*UNDER, f"--{option}", f"{option}.jsonl")
        assert (code, out) == (3, "")
        assert f"--{option}, and the plan fixes none" in err


def test_groups_that_a_plan_fixes_are_tested(run, planned_accounts):
    planned_accounts(30, 1, "--input", "groups=groups.jsonl")
    assert [g["name"] for g in found(run(*UNDER, "--groups", "groups.jsonl"))["groups"]] == ["g"]


def test_marks_say_what_they_have_to_be(folder, run):
    write_rows(folder / "marks.jsonl", [{"key_path": "epoch/test/account/a10", "log10_e": 9.0}])
    said = found(run("--marks", "marks.jsonl"))["assumptions"]
    assert any(text.startswith("the marks, of 1 of 24 accounts, are of this suspect's own text") for text in said)
    assert not any(text.startswith("the marks") for text in found(run())["assumptions"])


@pytest.mark.parametrize("by", [("--likelihoods", "l.jsonl"), ("--answers", "answers.jsonl")])
def test_copies_of_a_pair_under_ids_whose_coins_fit_count_once(folder, run, by):
    """115 wins of 200 are nothing; ten copies of each would be p = 1e-11."""
    pairs, likelihoods = [], []
    for i in range(20):
        first = make_pair(f"r{i}", 0, account="a00")
        fits = [j for j in range(1, 99) if EPOCH.coin(f"r{i}-{j}-twin") == first.served][:9]
        fields = {name: getattr(first, name) for name in ("prompt", "members", "served", "drawn", "account", "digests")}
        copies = [first, *(Pair(**(fields | {"id": f"r{i}-{j}-twin", "request": f"r{i}-{j}"})) for j in fits)]
        turned = fields | {"members": first.members[::-1], "digests": first.digests[::-1], "served": 1 - first.served}
        other = next(j for j in range(1, 99) if EPOCH.coin(f"r{i}-{j}-twin") != first.served)
        copies.append(Pair(**(turned | {"id": f"r{i}-{other}-twin", "request": f"r{i}-{other}"})))
        pairs += copies
        likelihoods += [make_likelihood(pair, i < 13) for pair in copies]
    write(folder / "pairs.jsonl", pairs)
    write(folder / "l.jsonl", likelihoods[::-1])  # their order decides nothing
    won = [p.members[p.served if i < 13 else 1 - p.served].text for i, p in ((k // 11, p) for k, p in enumerate(pairs))]
    rows = [{"prompt": p.prompt, "response": text} for p, text in zip(pairs, won, strict=True)]
    write_rows(folder / "answers.jsonl", rows)
    row = found(run("--key", "coin.key", by=by))["accounts"][0]
    assert (row["wins"], row["losses"], row["ties"]) == (13, 7, 200)
    write(folder / "l.jsonl", likelihoods[:-1])
    if by[0] == "--likelihoods":  # nobody scored it: still a loss
        assert found(run(by=by))["accounts"][0]["losses"] == 8
