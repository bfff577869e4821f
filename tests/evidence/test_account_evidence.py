"""Evidence on who was used: what somebody who wants another name in it could try, and what nobody may read in it."""

import hashlib
import hmac
import json
import re
import shutil
from dataclasses import replace

import msgspec
import pytest

from tests import reporting
from tests.cli.conftest import radiolabel
from tests.evidence.lying import lies, nodes, put
from tests.evidence_case import run
from verify.accounts.groups import read_groups
from verify.accounts.sealing import Sealed, read_opening, read_sealed
from verify.canonical import canonical
from verify.evidence.citations import citations
from verify.evidence.decision import decide
from verify.evidence.deriving import derive
from verify.evidence.folder import digest_of
from verify.measured import from_fields, to_fields
from verify.plans import parse_plan
from verify.private import create_private
from watermark.secret import Secret


@pytest.fixture(scope="module")
def names(accounts):
    """Of the people, by group."""
    return read_groups(str(accounts.case.path("named-groups.jsonl")))


@pytest.fixture(scope="module")
def sealed(accounts):
    """Who is who."""
    return read_sealed(str(accounts.case.path("sealed.json")))


@pytest.fixture(scope="module")
def opening(accounts, sealed, names):
    """Of one of the ring: its file, and what is in it."""
    path = accounts.case.path("opening.json")
    run("aliases", "open", accounts.case.path("sealed.json"), names["ring"][0], "-o", path)
    return path, json.loads(path.read_bytes())


def result(liar):
    """Of an evidence file."""
    return liar.statement()["predicate"]["results"][0]


def careful(liar, change, **options):
    """Check a file in which everything follows from measured counts that somebody changed."""

    def rewrite(predicate):
        plan, first = parse_plan(predicate["plan"], "plan"), predicate["results"][0]
        change(first["measured"])
        measured = from_fields(first["measured"], "measured")
        derived = derive(plan, 0, measured)
        first |= {"measured": to_fields(measured), "derived": derived}
        predicate["decision"] = msgspec.to_builtins(decide(plan, [derived]))
        predicate["citations"] = list(citations(plan, [measured]))

    return liar.says(rewrite, **options)


def test_the_ring_is_named_and_everything_is_computed_again(accounts, sealed, names):
    found = accounts.check()
    assert found.accepted
    for step in ("inputs", "keys", "measured", "stopping", "derived", "decision", "log.2", "release.logs"):
        assert found[step] == "ok", found.reason(step)
    derived = result(accounts)["derived"]
    assert {sealed.accounts[number - 1] for number in derived["named"]} == set(names["ring"])
    groups = {group["name"]: (group["n_accounts"], group["at_least"]) for group in derived["groups"]}
    assert groups == {"ring": (4, 4), "ordinary": (8, 0)}
    assert set(derived["named"]) <= set(derived["named_fdr"])
    # With the file alone the numbers still follow from the counts.
    alone = accounts.check(folder=False)
    assert alone.accepted
    assert (alone["measured"], alone["derived"], alone["stopping"]) == ("not checked", "ok", "ok")


def drop(measured):
    measured["n_pairs"] -= sum(measured["accounts"].pop())
    for group in measured["groups"]:
        group["accounts"] = [i for i in group["accounts"] if i <= len(measured["accounts"])]


def hide(measured):
    """One account less, its pairs those of another."""
    last = measured["accounts"].pop()
    measured["accounts"][0] = [a + b for a, b in zip(measured["accounts"][0], last, strict=True)]
    for group in measured["groups"]:
        group["accounts"] = [i for i in group["accounts"] if i <= len(measured["accounts"])]


def merge(measured):
    *rest, last = measured["accounts"]
    measured["accounts"] = [[a + b for a, b in zip(rest[0], last, strict=True)], *rest[1:], [0, 0, 0]]


def exchange(measured):
    rows = measured["accounts"]
    best, worst = max(range(len(rows)), key=rows.__getitem__), min(range(len(rows)), key=rows.__getitem__)
    rows[best], rows[worst] = rows[worst], rows[best]


def help_one(measured):
    row = next(row for row in measured["accounts"] if row[0] > row[1])
    row[0], row[1] = row[0] - 1, row[1] + 1


def move(measured):
    ring, ordinary = sorted(measured["groups"], key=lambda group: group["group"], reverse=True)
    ordinary["accounts"] = sorted([*ordinary["accounts"], ring["accounts"].pop()])


def no_groups(measured):
    del measured["groups"]


@pytest.mark.parametrize(
    ("change", "alone", "whole"),
    [
        (drop, "stopping", "measured"),  # the plan says how many accounts and pairs there are
        (hide, "stopping", "measured"),
        (merge, None, "measured"),
        (exchange, None, "measured"),
        (help_one, None, "measured"),
        (move, None, "measured"),
        (no_groups, "stopping", "measured"),
    ],
)
def test_other_counts_from_which_all_else_follows(accounts, change, alone, whole):
    without, found = careful(accounts, change, folder=False), careful(accounts, change)
    assert without.failed == ([alone] if alone else [])
    assert not found.accepted
    assert set(found.failed) == {whole} | ({alone} if alone else set())


def test_no_number_of_the_result_can_be_changed(accounts):
    statement, n = accounts.statement(), 0
    for path, value in nodes(statement):
        if "results" not in path or len(path) < 4:
            continue
        for lie in lies(value):
            data = accounts.sign(put(statement, path, lie))
            found = accounts.check(data, folder=False)
            assert not (found if found.failed else accounts.check(data)).accepted, (path, lie)
            n += 1
    assert n > 150


@pytest.mark.parametrize(
    ("name", "value"), [("aliases", "00" * 32), ("accounts", 13), ("accounts", 11), ("fdr", 0.5), ("fdr", "none")]
)
def test_the_plan_fixes_who_is_who_and_how_many(accounts, name, value):
    found = accounts.says(lambda predicate: predicate["plan"]["test"].update({name: value}))
    assert not found.accepted
    assert "plan" in found.failed or "fields" in found.failed


def changed_input(accounts, tmp_path, role, change):
    """A folder in which an input is another, and evidence that names its digest: check it."""
    folder = tmp_path / "folder"
    shutil.copytree(accounts.case.folder, folder)
    statement = accounts.statement()
    name = statement["predicate"]["inputs"][role]
    lines = (folder / name).read_text().splitlines()
    (folder / name).write_text("\n".join(change(lines)) + "\n")
    for subject in statement["subject"]:
        if subject["name"] == name:
            subject["digest"]["sha256"] = digest_of(str(folder), name)
    return replace(accounts, case=replace(accounts.case, folder=folder)).check(accounts.sign(statement))


def renamed(lines):
    names = sorted({json.loads(line)["account"] for line in lines})
    there = {names[0]: names[1], names[1]: names[0]}
    return [re.sub('"account":"([^"]*)"', lambda m: f'"account":"{there.get(m[1], m[1])}"', line) for line in lines]


@pytest.mark.parametrize("role", ["pairs", "groups"])
@pytest.mark.parametrize("change", [renamed, lambda lines: lines[1:]], ids=["exchanged", "dropped"])
def test_pairs_and_groups_are_those_that_the_plan_fixed(accounts, tmp_path, role, change):
    found = changed_input(accounts, tmp_path, role, change)
    assert not found.accepted
    assert "stopping" in found.failed
    assert f"the digest of {role}" in found.reason("stopping")


def test_a_name_that_is_no_alias_is_refused(accounts, tmp_path):
    found = changed_input(
        accounts, tmp_path, "pairs", lambda lines: [lines[0].replace("alias-", "customer-"), *lines[1:]]
    )
    assert found["measured"] == "failed"
    assert "expected alias-1 to alias-12" in found.reason("measured")


def check_opening(accounts, tmp_path, fields):
    path = tmp_path / "lie.json"
    path.write_bytes(canonical(fields) + b"\n")
    code, out, err = radiolabel(
        "aliases", "check", path, "--evidence", accounts.case.path("accounts.json"), "--format", "json"
    )
    return code, json.loads(out) if out else err


def test_one_account_is_opened(accounts, opening, sealed, names, tmp_path):
    code, said = check_opening(accounts, tmp_path, opening[1])
    assert code == 0
    name, number = names["ring"][0], sealed.numbers[names["ring"][0]]
    assert (said["opens"], said["account"], said["alias"], said["named"]) == (True, name, f"alias-{number}", True)
    row = [said["wins"], said["losses"], said["ties"]]
    assert row == result(accounts)["measured"]["accounts"][number - 1]
    code, out, _ = radiolabel("aliases", "check", opening[0], "--plan", accounts.case.path("accounts-plan.json"))
    assert (code, json.loads(out)["opens"]) == (0, True)


def test_an_alias_is_opened_as_its_name_is(accounts, opening, tmp_path):
    again = tmp_path / "again.json"
    run("aliases", "open", accounts.case.path("sealed.json"), f"alias-{opening[1]['number']}", "-o", again)
    assert again.read_bytes() == opening[0].read_bytes()


def test_an_opening_of_another_account(accounts, opening, sealed, names, tmp_path):
    other = json.loads(sealed.opening(names["ordinary"][0]).to_json())
    for field in ("account", "number", "salt", "siblings"):
        code, said = check_opening(accounts, tmp_path, opening[1] | {field: other[field]})
        assert (code, said["opens"]) == (1, False), field
        assert "not those under the root" in said["reason"]
        assert "named" not in said
    beyond = opening[1] | {"number": opening[1]["number"] + 12}
    assert check_opening(accounts, tmp_path, beyond)[0] == 1


def test_a_sealed_file_of_the_same_names_opens_nothing_here(accounts, tmp_path, names):
    other, path = tmp_path / "sealed.json", tmp_path / "opening.json"
    run("aliases", "new", accounts.case.path("named-pairs.jsonl"), "-o", other)
    run("aliases", "open", other, names["ring"][0], "-o", path)
    code, said = check_opening(accounts, tmp_path, json.loads(path.read_bytes()))
    assert (code, said["opens"]) == (1, False)
    assert said["reason"] == "it is of another sealed file than the plan's"


def given_away(accounts):
    """Bytes of everything that the other side gets, the report too."""
    predicate = accounts.statement()["predicate"]
    files = [accounts.case.path(name).read_bytes() for name in predicate["inputs"].values()]
    pages = []
    for form in ("html", "md", "json"):
        page = accounts.case.path(f"report.{form}")
        run("report", accounts.case.path("accounts.json"), "--policy", accounts.case.path("policy.json"), "--inputs",
            accounts.case.folder, "--key", accounts.case.path("coin.key"), "--format", form, "--force",
            "-o", page)  # fmt: skip
        pages.append(page.read_bytes())
    return [*files, *pages, json.dumps(accounts.statement()).encode(), accounts.case.path("policy.json").read_bytes()]


def guesses(name, public):
    """What somebody could compute who guesses a name and has only what is public."""
    raw = name.encode()
    prefixed = len(raw).to_bytes(2, "little") + raw
    label = len(b"radiolabel/v1/alias").to_bytes(2, "little") + b"radiolabel/v1/alias"
    for data in (raw, prefixed, label + prefixed):
        yield from (getattr(hashlib, kind)(data).digest() for kind in ("md5", "sha1", "sha256", "sha512"))
        yield from (hmac.digest(key, data, "sha256") for key in public)
        yield from (hashlib.sha256(key + data).digest() for key in public)
        yield hashlib.sha256(b"\0" + data).digest()


def test_no_name_stands_in_what_is_handed_over_nor_can_be_guessed(accounts, sealed, names):
    hay = given_away(accounts)
    root = bytes.fromhex(accounts.statement()["predicate"]["plan"]["test"]["aliases"])
    public = (b"", bytes(32), root, root.hex().encode())
    everybody = [*names["ring"], *names["ordinary"]]
    assert len(everybody) == 12
    for name in everybody:
        for spelled in (name, name.split("@")[0]):
            assert not any(spelled.encode() in file for file in hay)
        for digest in guesses(name, public):
            for text in (digest.hex()[:16].encode(), digest[:16]):
                assert not any(text in file for file in hay)
    assert not any(b"customer.example" in file or b"talk " in file for file in hay)
    secret = sealed.secret.reveal()
    assert not any(text in file for text in (secret, secret.hex().encode()) for file in hay)
    # The search finds names where they are.
    assert everybody[0].encode() in accounts.case.path("named-pairs.jsonl").read_bytes()
    # The order of the numbers is not that of the names, of the pairs or of the groups.
    assert list(sealed.accounts) not in (sorted(everybody), everybody, sorted(everybody, reverse=True))


def test_an_opening_says_nothing_of_the_others(opening, sealed, names):
    data, own = opening[0].read_bytes(), names["ring"][0]
    others = [name for name in sealed.accounts if name != own]
    assert own.encode() in data
    assert not any(name.encode() in data for name in others)
    assert sealed.secret.reveal().hex().encode() not in data
    salts = {name: sealed.opening(name).salt for name in sealed.accounts}
    assert len(set(salts.values())) == 12
    # The siblings are hashes of leaves that hide their names: no guess with this salt gives one.
    found = read_opening(str(opening[0]))
    public = (b"", bytes.fromhex(found.salt), bytes.fromhex(found.root))
    assert found.salt == salts[own]
    for name in others:
        computed = {digest.hex() for digest in guesses(name, public)}
        computed |= {hashlib.sha256(b"\0" + bytes.fromhex(digest)).hexdigest() for digest in set(computed)}
        assert computed.isdisjoint(found.siblings)


@pytest.mark.parametrize("keep", [(), ("--keep-texts",)])
def test_the_order_of_the_pairs_says_nothing_that_their_ids_do_not(accounts, sealed, tmp_path, keep):
    """A file in the order of its accounts' names would name all of them to whoever has a list."""
    lines = accounts.case.path("named-pairs.jsonl").read_bytes().splitlines(keepends=True)
    made = []
    for name, order in (("sorted", sorted(lines, key=lambda line: json.loads(line)["account"])), ("as it was", lines)):
        (tmp_path / f"{name}.jsonl").write_bytes(b"".join(order))
        run("redact", tmp_path / f"{name}.jsonl", "--aliases", accounts.case.path("sealed.json"), *keep,
            "-o", tmp_path / f"{name}-redacted.jsonl")  # fmt: skip
        made.append((tmp_path / f"{name}-redacted.jsonl").read_bytes())
    assert made[0] == made[1]
    pairs = [json.loads(line) for line in made[0].splitlines()]
    assert [pair["id"] for pair in pairs] == sorted(json.loads(line)["id"] for line in lines)
    first = list(dict.fromkeys(pair["account"] for pair in pairs))
    assert [sealed.accounts[int(name.removeprefix("alias-")) - 1] for name in first] != sorted(sealed.accounts)


def test_a_group_that_is_called_after_one_of_its_accounts_is_refused(accounts, names, tmp_path):
    path = tmp_path / "groups.jsonl"
    path.write_text(json.dumps({"account": names["ring"][0], "group": f"card of {names['ring'][0].upper()}"}) + "\n")
    arguments = ("redact", path, "--aliases", accounts.case.path("sealed.json"), "--groups", "-o", tmp_path / "g.jsonl")
    code, _, err = radiolabel(*arguments)
    assert (code, (tmp_path / "g.jsonl").exists()) == (3, False)
    assert "a group is called after an account in it" in err
    assert names["ring"][0] not in err.lower()


def test_what_has_the_form_of_an_alias_is_one_whatever_a_customer_calls_itself(tmp_path):
    """Somebody called alias-2 would be opened in place of the account that alias-2 is."""
    sealed = Sealed.of(Secret(bytes(32)), ["alias-1", "alias-2", "alias-3", "alias-four"])
    create_private(tmp_path / "sealed.json", sealed.to_json(), "sealed")
    for number, name in enumerate(sealed.accounts, 1):
        path = tmp_path / f"{number}.json"
        run("aliases", "open", tmp_path / "sealed.json", f"alias-{number}", "-o", path)
        assert (read_opening(str(path)).number, read_opening(str(path)).account) == (number, name)
    run("aliases", "open", tmp_path / "sealed.json", "alias-four", "-o", tmp_path / "four.json")
    assert read_opening(str(tmp_path / "four.json")).account == "alias-four"
    assert [f"alias-{n}" for n in sealed.numbers.values()] != list(sealed.numbers)


def forged(accounts, tmp_path, change):
    """Evidence that somebody changed, signed again."""
    statement = accounts.statement()
    change(statement["predicate"]["results"][0])
    path = tmp_path / "forged.json"
    path.write_bytes(accounts.sign(statement))
    return path


@pytest.mark.parametrize("named", [5, [], "all", None, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]])
def test_who_is_named_follows_from_the_counts_whatever_is_written(accounts, opening, tmp_path, named):
    path = forged(accounts, tmp_path, lambda first: first["derived"].update(named=named))
    code, out, err = radiolabel("aliases", "check", opening[0], "--evidence", path, "--format", "json")
    assert (code, err, json.loads(out)["named"]) == (0, "", True)


def test_evidence_with_fewer_accounts_than_its_plan_opens_nobody(accounts, opening, tmp_path):
    path = forged(accounts, tmp_path, lambda first: drop(first["measured"]))
    code, out, err = radiolabel("aliases", "check", opening[0], "--evidence", path)
    assert (code, out) == (3, "")
    assert "counts of 11 accounts, and its plan says 12" in err


@pytest.mark.parametrize("alone", [True, False])
def test_more_pairs_than_anybody_has_end_a_check_with_a_reason(accounts, alone):
    def many(predicate):
        measured = predicate["results"][0]["measured"]
        measured["accounts"][0][0] += 1 << 52
        measured |= {"n_pairs": measured["n_pairs"] + (1 << 52), "alone": alone}

    found = accounts.says(many, folder=False)
    assert found.failed == ["fields"]
    assert "expected some that add up, at most 4294967296" in found.reason("fields")


def test_the_same_inputs_give_the_same_evidence_and_redacted_files(accounts, tmp_path):
    for kind, options in (("pairs", ()), ("groups", ("--groups",))):
        again = tmp_path / f"{kind}.jsonl"
        run("redact", accounts.case.path(f"named-{kind}.jsonl"), "--aliases", accounts.case.path("sealed.json"),
            *options, "-o", again)  # fmt: skip
        assert again.read_bytes() == accounts.case.path(f"account-{kind}.jsonl").read_bytes()
    predicate, f = accounts.statement()["predicate"], accounts.case.path
    inputs = [part for role, name in predicate["inputs"].items() for part in ("--input", f"{role}={f(name)}")]
    run("evidence", f("accounts-plan.json"), *inputs, "--key", f("coin.key"), "--signer", f("signer.pem"),
        "--register", f("account-register.jsonl"), "--master", f("m.json"), "--epoch", f("e.json"),
        "--log", f"pairs={f('account-pairs-log.json')}", "-o", tmp_path / "again.json")  # fmt: skip
    again = accounts.statement_of((tmp_path / "again.json").read_bytes())
    again["predicate"]["times"] = predicate["times"]
    assert canonical(again) == canonical(accounts.statement())


def test_25_000_accounts_fit(tmp_path):
    measured = reporting.crowd(25_000, 2_500, rate=0.8, spread=40)
    predicate = reporting.on_accounts(measured)
    path = reporting.write(predicate, tmp_path / "e.json")
    assert path.stat().st_size < 1_500_000
    run("report", path, "-o", tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert len(page) < 1_000_000
    assert "25,000 accounts" in page
    named = predicate["results"][0]["derived"]["named"]
    assert f"{len(named):,} of 25,000 accounts are named" in page
    assert 1_000 < len(named) <= 2_500
    assert max(named) <= 2_500  # of the ring, which comes first here


@pytest.mark.parametrize(
    ("options", "says"),
    [((), ""), (("--fdr", "0.05"), "fdr is 0.05"), (("--fwer", "0.01"), "alpha is 0.01"), (("--no-groups",), "groups")],
)
def test_the_command_follows_the_same_plan(accounts, options, says):
    f = accounts.case.path
    groups = () if "--no-groups" in options else ("--groups", f("account-groups.jsonl"))
    code, out, err = radiolabel(
        "accounts", f("account-pairs.jsonl"), "--likelihoods", f("account-likelihoods.jsonl"), "--key", f("coin.key"),
        "--plan", f("accounts-plan.json"), *groups, *(o for o in options if o != "--no-groups"), "--format", "json",
    )  # fmt: skip
    if says:
        assert (code, out) == (3, "")
        assert says in err
        return
    assert code == 0, err
    found, derived = json.loads(out), result(accounts)["derived"]
    assert {int(name.removeprefix("alias-")) for name in found["named_fwer"]} == set(derived["named"])
    assert {g["name"]: g["at_least"] for g in found["groups"]} == {g["name"]: g["at_least"] for g in derived["groups"]}
