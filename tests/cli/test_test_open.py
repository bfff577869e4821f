import json

import pytest

from tests.cli.conftest import radiolabel
from tests.conftest import make_epoch
from tests.predicting import TOKENIZER, chain, learn, predict, serve
from verify.cli import main
from verify.measuring import linear as linear_measuring
from watermark.keyfile import write_key


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """fleet.key, other.key, and predictions: served, public, innocent, answers."""
    folder = tmp_path_factory.mktemp("predictions")
    keys = [make_epoch(label, shares="fleet=1") for label in (1, 2)]
    for epoch, name in zip(keys, ("fleet.key", "other.key"), strict=True):
        write_key(epoch.value_key("fleet"), folder / name)
    write_key(keys[0], folder / "epoch.key")
    laws = chain(64, 0)
    texts = serve(laws, keys[0].value_key("fleet"), [60] * 20, 1)
    student = learn(texts, laws, 2, 20.0)
    for name, predictions in {
        "served.jsonl": predict(texts, laws, 2, student=student),
        "public.jsonl": predict(texts, laws, 2, student=student, served=False),
        "plain.jsonl": predict(texts, laws, 2, student=student, reference=False),
    }.items():
        (folder / name).write_bytes(b"\n".join(p.to_json() for p in predictions))
    (folder / "mixed.jsonl").write_bytes(
        predict(texts, laws, 2)[0].to_json() + b"\n" + predict(texts, laws, 2, served=False)[1].to_json()
    )
    (folder / "few.jsonl").write_bytes(predict([texts[0][:12]], laws, 2)[0].to_json())
    return folder


def test_a_student_is_found_in_served_text(files):
    code, out, err = radiolabel("test", "open", files / "served.jsonl", "--key", files / "fleet.key", "--exit-code")
    f = json.loads(out)
    assert (code, err) == (0, "")
    assert f["found"]
    assert (f["test"], f["rule"], f["served"]) == ("open", "root", True)
    assert f["log10_p"] == -f["log10_e"] < -20
    assert f["log10_p_estimate"] is None
    assert f["n_positions"] == sum(f["n_dropped"].values()) + f["n_scored"]
    assert len(f["options"]["sha256"]) == 64
    key = json.loads((files / "fleet.key").read_text())
    assert f["key_id"] == key["id"]
    assert key["value_key"] not in out
    assert key["selector_key"] not in out


def test_another_key_is_not(files):
    code, out, _ = radiolabel("test", "open", files / "served.jsonl", "--key", files / "other.key", "--exit-code")
    f = json.loads(out)
    assert code == 1
    assert not f["found"]
    assert f["log10_p"] > -3
    assert "Not found does not mean not there" in f["sentence"]


def test_public_text_has_a_bound_and_an_estimate(files):
    code, out, _ = radiolabel("test", "open", files / "public.jsonl", "--key", files / "fleet.key")
    f = json.loads(out)
    assert code == 0
    assert f["log10_p_estimate"] < f["log10_p"] < -f["log10_e"]


def test_answers_with_a_reference(files):
    code, out, _ = radiolabel("test", "closed", files / "public.jsonl", "--key", files / "fleet.key")
    f = json.loads(out)
    assert code == 0
    assert (f["test"], f["rule"], f["found"]) == ("closed", "control-variate", True)


def test_standard_input_and_a_rule_without_reference(files):
    data = (files / "plain.jsonl").read_text()
    code, out, _ = radiolabel("test", "open", "-", "--key", files / "fleet.key", "--rule", "top1", input=data)
    f = json.loads(out)
    assert code == 0
    assert (f["rule"], f["reference_model"], f["options"]["sha256"]) == ("top1", None, None)


@pytest.mark.parametrize("file", ["served.jsonl", "public.jsonl", "plain.jsonl"])
@pytest.mark.parametrize("key", ["fleet.key", "other.key"])
def test_text_fits_a_terminal(files, file, key):
    command = ["test", "open", files / file, "--key", files / key, "--format", "text", "--prompt-windows", "ignore"]
    code, out, _ = radiolabel(*command)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "- no prompt held marked text" in out
    assert ("served" in out) == (file != "public.jsonl")
    assert "nan" not in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("open", "mixed.jsonl", "--key", "fleet.key"), 3, "served is False, expected True"),
        (("open", "few.jsonl", "--key", "fleet.key"), 3, "fewer than 32 say nothing"),
        (("open", "served.jsonl", "--key", "epoch.key"), 2, "is not a value key"),
        (("open", "served.jsonl", "--key", "fleet.key", "--alpha", "nan"), 2, "not a finite number"),
        (
            ("open", "served.jsonl", "--key", "fleet.key", "--tokenizer", TOKENIZER[:-1] + "0"),
            3,
            "tokenizer is sha256:",
        ),
        (("open", "plain.jsonl", "--key", "fleet.key", "--rule", "difference"), 2, "needs a reference"),
        (("open", "missing.jsonl", "--key", "fleet.key"), 2, "cannot be opened"),
        (("open", "fleet.key", "--key", "fleet.key"), 2, "JSON ends early"),
        (("closed", "served.jsonl", "--key", "fleet.key"), 3, "served is true"),
        (("closed", "plain.jsonl", "--key", "fleet.key"), 2, "without log_q"),
    ],
)
def test_what_cannot_be_used_is_refused(files, arguments, code, message):
    places = [files / a if a.endswith((".jsonl", ".key")) else a for a in arguments]
    found, out, err = radiolabel("test", *places)
    assert (found, out) == (code, "")
    assert message in err
    secret = json.loads((files / "fleet.key").read_text())["value_key"]
    assert secret not in err


@pytest.mark.parametrize("name", ["open", "closed"])
def test_predictions_that_change_while_they_are_read_are_refused(files, tmp_path, monkeypatch, capsys, name):
    (tmp_path / "p.jsonl").write_bytes((files / "public.jsonl").read_bytes())
    read = linear_measuring.read_predictions

    def slow(path, **options):
        yield from read(path, **options)
        with open(path, "ab") as file:
            file.write(b"\n")

    monkeypatch.setattr(linear_measuring, "read_predictions", slow)
    assert main(["test", name, str(tmp_path / "p.jsonl"), "--key", str(files / "fleet.key")]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "p.jsonl: changed while it was read" in err
