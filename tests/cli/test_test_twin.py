import json

import pytest

from tests.cli.conftest import radiolabel
from verify.cli import main
from verify.pairs import Likelihood, Member, Pair


def make_pair(i, *, served, account=None):
    members = (Member(f"the blue answer number {i} is long"), Member(f"a red reply of index {i} was short"))
    return Pair.of(id=f"p{i}", prompt=f"question {i}", members=members, served=served, drawn="serving", account=account)


def make_likelihood(pair, better, *, by=1.0):
    scores = [-50.0, -50.0]
    scores[better] += by
    return Likelihood(id=pair.id, digests=pair.digests, tokens=(9, 9), log_likelihood=tuple(scores), suspect="suspect")


@pytest.fixture
def records(tmp_path):
    """40 pairs, 36 of whose served members the suspect holds for likelier; answers like the served member."""
    pairs = [make_pair(i, served=i % 2, account=f"a{i % 2}") for i in range(40)]
    likelihoods = [make_likelihood(p, p.served if i >= 4 else 1 - p.served) for i, p in enumerate(pairs)]
    for name, lines in (("pairs", pairs), ("likelihoods", likelihoods)):
        (tmp_path / f"{name}.jsonl").write_bytes(b"\n".join(record.to_json() for record in lines) + b"\n")
    answers = [{"prompt": p.prompt, "response": p.members[p.served].text.replace("number", "no")} for p in pairs]
    (tmp_path / "answers.jsonl").write_text("\n".join(map(json.dumps, answers)) + "\n")
    return tmp_path


def twin(folder, *arguments):
    return radiolabel("test", "twin", folder / "pairs.jsonl", *arguments)


def test_likelihoods(records):
    code, out, err = twin(records, "--likelihoods", records / "likelihoods.jsonl", "--format", "json")
    assert (code, err) == (0, "")
    f = json.loads(out)
    assert (f["wins"], f["losses"], f["ties"], f["found"]) == (36, 4, 0, True)
    assert f["scored_by"] == "log-likelihood per token"
    assert {a["account"]: a["wins"] for a in f["accounts"]} == {"a0": 18, "a1": 18}
    assert set(f["options"]["sha256"]) == {"pairs", "likelihoods"}


def test_text_for_people_fits_80_columns(records):
    code, out, _ = twin(records, "--likelihoods", records / "likelihoods.jsonl", "--format", "text")
    assert code == 0
    assert "36 of 40" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("measure", ["ngram", "subsequence"])
def test_answers_alone(records, measure):
    arguments = ("--answers", records / "answers.jsonl", "--measure", measure, "--format", "json")
    code, out, _ = twin(records, *arguments)
    f = json.loads(out)
    assert (code, f["wins"], f["found"]) == (0, 40, True)


def test_swapped_coins_turn_wins_into_losses(records):
    lines = [json.loads(line) for line in (records / "pairs.jsonl").read_text().splitlines()]
    for line in lines:
        line["served"] = 1 - line["served"]
    (records / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    code, out, _ = twin(records, "--likelihoods", records / "likelihoods.jsonl", "--exit-code", "--format", "json")
    f = json.loads(out)
    assert (code, f["wins"], f["found"]) == (1, 4, False)


def test_pairs_that_were_left_out_count_as_losses(records):
    lines = (records / "likelihoods.jsonl").read_text().splitlines()
    (records / "likelihoods.jsonl").write_text("\n".join(lines[4:]) + "\n")  # the four losses
    _, out, _ = twin(records, "--likelihoods", records / "likelihoods.jsonl", "--format", "json")
    f = json.loads(out)
    assert (f["n_missing"], f["wins"], f["losses"]) == (4, 36, 4)


def test_pairs_may_come_from_standard_input_and_be_missing(records):
    lines = (records / "likelihoods.jsonl").read_text().splitlines()
    (records / "few.jsonl").write_text("\n".join(lines[4:]) + "\n")
    pairs = (records / "pairs.jsonl").read_text()
    arguments = ("test", "twin", "-", "--likelihoods", records / "few.jsonl", "--format", "json")
    code, out, err = radiolabel(*arguments, input=pairs)
    assert (code, err) == (0, "")
    f = json.loads(out)
    assert (f["n_missing"], f["wins"], f["losses"]) == (4, 36, 4)
    assert {a["account"]: a["losses"] for a in f["accounts"]} == {"a0": 2, "a1": 2}


@pytest.mark.parametrize("option", ["--likelihoods", "--answers"])
def test_standard_input_is_one_file(option):
    code, out, err = radiolabel("test", "twin", "-", option, "-", input="")
    assert (code, out) == (2, "")
    assert "standard input can be one of the files" in err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "either --likelihoods or --answers"),
        (("--likelihoods", "pairs.jsonl"), 2, "expected 'likelihood'"),
        (("--likelihoods", "few.jsonl", "--missing", "drop"), 3, "only 3 of 40 pairs"),
        (("--likelihoods", "twice.jsonl"), 2, "stands in the file twice"),
        (("--likelihoods", "nan.jsonl"), 2, "nan.jsonl:1"),
        (("--likelihoods", "foreign.jsonl"), 3, "has no pair"),
    ],
)
def test_bad_input_is_refused_with_its_reason(records, arguments, code, says):
    lines = (records / "likelihoods.jsonl").read_text().splitlines()
    (records / "few.jsonl").write_text("\n".join(lines[:3]) + "\n")
    (records / "twice.jsonl").write_text("\n".join([*lines, lines[0]]) + "\n")
    (records / "nan.jsonl").write_text(lines[0].replace("-50.0", "NaN") + "\n")
    (records / "foreign.jsonl").write_text(lines[0].replace('"p0"', '"q0"') + "\n")
    paths = [records / a if a.endswith(".jsonl") else a for a in arguments]
    found, out, err = twin(records, *paths)
    assert (found, out) == (code, "")
    assert says in err


def test_power_from_a_share_and_from_pilots(records, tmp_path):
    code, out, _ = radiolabel("power", "--share", "0.01", "--format", "json")
    assert (code, json.loads(out)["needed"]) == (0, 507_707)
    _, pilot, _ = twin(records, "--likelihoods", records / "likelihoods.jsonl", "--format", "json")
    (tmp_path / "pilot.json").write_text(pilot)
    code, out, _ = radiolabel("power", "--pilot", tmp_path / "pilot.json", "--format", "json")
    need = json.loads(out)
    assert (code, need["test"], need["unit"]) == (0, "twin", "pairs")
    assert need["interval"][0] < need["needed"] < need["interval"][1]
    code, out, _ = radiolabel("power", "--pilot", tmp_path / "pilot.json", "--format", "text")
    assert f"{need['needed']:,} pairs" in out


CLOSED = {"excess": 0.1, "excess_interval": [0.0, 0.2], "scheme": "gumbel", "n_scored": 9, "n_documents": 3}
LINEAR = {"rule": "soft", "test": "open", "z": 1.0, "n_scored": 9}
BAD_PILOTS = [
    "{}", "[]", "", "null", "[" * 10_000, '{"win_rate": "x", "win_interval": [0, 1]}', "nonsense",
    '{"win_rate": 2, "win_interval": [0, 1]}', '{"win_rate": 1, "win_interval": "01"}',
    *(json.dumps(CLOSED | changes) for changes in (
        {"n_scored": 0}, {"n_documents": 0}, {"n_documents": 10**400}, {"excess": 1e308}, {"excess": "inf"},
        {"scheme": 0}, {"scheme": "nope"}, {"n_scored": -5})),
    *(json.dumps(LINEAR | changes) for changes in (
        {"z": "nan"}, {"z": 1e308}, {"n_scored": 0}, {"n_scored": -5}, {"test": "\x1b[31m"})),
]  # fmt: skip


@pytest.mark.parametrize("content", BAD_PILOTS)
def test_power_refuses_what_is_no_finding(tmp_path, capsys, content):
    (tmp_path / "f.json").write_text(content)
    assert main(["power", "--pilot", str(tmp_path / "f.json")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "f.json" in err or "unknown scheme" in err


@pytest.mark.parametrize("content", [json.dumps(CLOSED), "\ufeff" + json.dumps(LINEAR, indent=2)])
def test_power_takes_what_is_a_finding(tmp_path, capsys, content):
    (tmp_path / "f.json").write_text(content)
    assert main(["power", "--pilot", str(tmp_path / "f.json")]) == 0
    assert json.loads(capsys.readouterr().out)["needed"] > 0


@pytest.mark.parametrize("arguments", [["--pilot", "f", "--share", "nan"], ["--share", "0.1", "--pairs-per-answer",
                                        "1e-320"]])  # fmt: skip
def test_power_refuses_numbers_that_are_none(capsys, arguments):
    assert main(["power", *arguments]) == 2
    assert "internal" not in capsys.readouterr().err
