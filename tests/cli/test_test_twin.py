import json

import pytest

from tests.cli.conftest import radiolabel
from tests.conftest import make_epoch
from verify import joining
from verify.cli import main
from verify.measuring import twin as twin_measuring
from verify.pairs import Likelihood, Member, Pair
from watermark.keyfile import write_key


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
TWIN = {"win_rate": 0.7, "win_interval": [0.6, 0.8], "log10_p_rank": -3.0}
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


@pytest.fixture
def tossed(tmp_path):
    """30 pairs whose coins epoch.key tossed; the suspect holds every served member for likelier."""
    epoch = make_epoch(3)
    write_key(epoch, tmp_path / "epoch.key")
    write_key(make_epoch(4), tmp_path / "other.key")
    write_key(epoch.value_key("fleet"), tmp_path / "fleet.key")
    pairs = [make_pair(i, served=epoch.coin(f"p{i}")) for i in range(30)]
    write(tmp_path / "pairs.jsonl", pairs)
    write(tmp_path / "likelihoods.jsonl", [make_likelihood(p, p.served) for p in pairs])
    return tmp_path


def write(path, records):
    path.write_bytes(b"".join(record.to_json() + b"\n" for record in records))


def test_coins_are_computed_again_from_the_key(tossed):
    arguments = ("--likelihoods", tossed / "likelihoods.jsonl", "--format")
    code, out, err = twin(tossed, *arguments, "json", "--key", tossed / "epoch.key")
    f = json.loads(out)
    assert (code, err, f["wins"]) == (0, "", 30)
    assert f["coin_key"] == make_epoch(3).coin_key().id
    assert f["options"]["coins"] == f"recomputed from node {make_epoch(3).coin_key().id}"
    assert any(f"coins recomputed from node {make_epoch(3).coin_key().id}" in a for a in f["assumptions"])
    assert "epoch.key" not in f["options"]["sha256"]
    code, out, _ = twin(tossed, *arguments, "text", "--key", tossed / "epoch.key")
    assert max(map(len, out.splitlines())) <= 80
    f = json.loads(twin(tossed, *arguments, "json")[1])
    assert (f["coin_key"], f["options"]["coins"]) == (None, "as the pairs state them")


@pytest.mark.parametrize(
    ("key", "code", "says"),
    [("other.key", 3, "and the coin of this key is"), ("fleet.key", 2, "fleet.key is not an epoch key")],
)
def test_the_coins_of_another_key_are_refused(tossed, key, code, says):
    found, out, err = twin(tossed, "--likelihoods", tossed / "likelihoods.jsonl", "--key", tossed / key)
    assert (found, out) == (code, "")
    assert says in err


@pytest.mark.parametrize("change", [{"served": 1 - make_epoch(3).coin("p7")}, {"id": "p/7"}])
@pytest.mark.parametrize("by", ["likelihoods", "answers"])
def test_one_pair_with_another_coin_is_refused(tossed, change, by):
    """By whichever file its members are scored."""
    lines = [json.loads(line) for line in (tossed / "pairs.jsonl").read_text().splitlines()]
    lines[7] |= change
    (tossed / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    (tossed / "answers.jsonl").write_text('{"prompt": "question 1", "response": "blue"}\n')
    code, out, err = twin(tossed, f"--{by}", tossed / f"{by}.jsonl", "--key", tossed / "epoch.key")
    assert (code, out) == (3, "")
    assert f"pair '{lines[7]['id']}': " in err


def test_a_file_that_changes_while_it_is_read_is_refused(tossed, monkeypatch, capsys):
    """The finding would name a digest of something else."""
    meet = joining.meet

    def slow(*arguments):
        yield from meet(*arguments)
        with open(tossed / "likelihoods.jsonl", "a") as file:
            file.write("\n")

    monkeypatch.setattr(twin_measuring, "meet", slow)
    command = ["test", "twin", str(tossed / "pairs.jsonl"), "--likelihoods", str(tossed / "likelihoods.jsonl")]
    assert main(command) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "likelihoods.jsonl: changed while it was read" in err


def test_a_plan_is_for_the_e_value_where_the_pilot_has_only_that(tmp_path, capsys):
    served = {"n_dropped": {"not_served": 3}}
    for finding, only_e in ((CLOSED, served), (LINEAR, {"served": True}), (TWIN, {"log10_p_rank": None})):
        needed = []
        for content in (finding, finding | only_e):
            (tmp_path / "f.json").write_text(json.dumps(content))
            assert main(["power", "--pilot", str(tmp_path / "f.json")]) == 0
            found = json.loads(capsys.readouterr().out)
            needed.append((found["p"], found["needed"]))
        assert [p for p, _ in needed] == ["tail", "1/e"]
        assert needed[0][1] < needed[1][1] < 1.5 * needed[0][1]
    assert main(["power", "--pilot", str(tmp_path / "f.json"), "--format", "text"]) == 0
    assert "To reach 1 / e-value = 1e-06 with probability 0.95 the twin test needs" in capsys.readouterr().out


def test_words_of_a_plan(capsys):
    assert main(["power", "--share", "1", "--pairs-per-answer", "1000", "--format", "text"]) == 0
    out = capsys.readouterr().out
    assert "  1 answer\n" in out
    assert main(["power", "--share", "1e-9", "--format", "text"]) == 0
    out = capsys.readouterr().out
    assert "no amount would be enough" in out
    assert "pilot" not in out
