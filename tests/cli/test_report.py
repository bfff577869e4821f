"""`radiolabel report` as it is typed."""

import json
import os
import subprocess
import sys

import pytest

from tests import reporting
from tests.cli.conftest import radiolabel
from verify.evidence.policy import Policy

CASES = reporting.cases()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with evidence that nobody checked, and policies."""
    monkeypatch.chdir(tmp_path)
    reporting.write(CASES["closed-exploratory"], tmp_path / "evidence.json")
    for name, required in (("easy", ()), ("strict", ("measured",))):
        policy = Policy(
            signer=reporting.SIGNER.public.hex(),
            roots="",
            released="unknown",
            beacon_value="unknown",
            required=required,
        )
        (tmp_path / f"{name}.json").write_bytes(policy.to_json())
    return tmp_path


@pytest.mark.parametrize(
    ("form", "begins"),
    [("html", "<!DOCTYPE html>"), ("md", "# Exploratory: "), ("json", '{\n  "title": "Exploratory: ')],
)
def test_every_format_is_written_whole(folder, form, begins):
    code, out, err = radiolabel("report", "evidence.json", "-o", "out", "--format", form)
    assert (code, err) == (0, "")
    text = (folder / "out").read_text()
    assert text.startswith(begins)
    assert text.endswith("\n")
    summary = json.loads(out)
    assert summary["file"] == "out"
    assert summary["accepted"] is None
    assert summary["evidence"] in text
    assert "checked nothing" in text.replace("\\", "")


def test_html_is_the_default_and_the_same_every_time(folder):
    for name in ("one.html", "two.html"):
        assert radiolabel("report", "evidence.json", "-o", name)[0] == 0
    assert (folder / "one.html").read_bytes() == (folder / "two.html").read_bytes()
    assert (folder / "one.html").read_text().startswith("<!DOCTYPE html>")


def test_an_output_is_only_replaced_with_force(folder):
    (folder / "out").write_text("before")
    code, _, err = radiolabel("report", "evidence.json", "-o", "out")
    assert (code, (folder / "out").read_text()) == (2, "before")
    assert "out exists" in err
    assert radiolabel("report", "evidence.json", "-o", "out", "--force", "--format", "md")[0] == 0
    assert (folder / "out").read_text().startswith("# ")


@pytest.mark.parametrize("output", ["evidence.json", "link", "easy.json"])
def test_no_input_is_ever_replaced(folder, output):
    (folder / "link").symlink_to("evidence.json")
    before = (folder / output).read_bytes()
    code, _, err = radiolabel("report", "evidence.json", "--policy", "easy.json", "-o", output, "--force")
    assert code == 2
    assert "are the same file" in err
    assert (folder / output).read_bytes() == before


def test_with_a_policy_the_steps_are_in_the_report(folder):
    code, out, err = radiolabel("report", "evidence.json", "--policy", "easy.json", "-o", "out", "--format", "json")
    assert (code, err) == (0, "")
    assert json.loads(out)["accepted"] is True
    stored = json.loads((folder / "out").read_text())
    rows = stored["rest"][0]["blocks"][0]["rows"]
    steps = json.loads(radiolabel("check", "evidence.json", "--policy", "easy.json", "--format", "json")[1])["steps"]
    assert [row[1:3] for row in rows] == [[step["id"], step["outcome"]] for step in steps]
    assert {"ok", "not checked"} == {row[2] for row in rows}


def test_what_the_policy_does_not_accept_is_written_without_an_answer_and_exits_1(folder):
    code, out, _ = radiolabel("report", "evidence.json", "--policy", "strict.json", "-o", "out", "--format", "md")
    assert code == 1
    assert json.loads(out)["accepted"] is False
    text = (folder / "out").read_text()
    assert "No answer. The evidence file was not accepted (steps that the policy requires were not checked)" in text
    assert "Yes" not in text.split("## How often")[0]


def test_another_signer_is_not_accepted(folder):
    other = json.loads((folder / "easy.json").read_text()) | {"signer": "0" * 64}
    (folder / "easy.json").write_text(json.dumps(other, sort_keys=True, separators=(",", ":")) + "\n")
    code, _, _ = radiolabel("report", "evidence.json", "--policy", "easy.json", "-o", "out", "--format", "md")
    assert code == 1
    assert "not accepted (failed: signature)" in (folder / "out").read_text()


def test_what_does_not_go_together_is_usage(folder):
    for extra in (("--inputs", "."), ("--key", "fleet.key")):
        code, _, err = radiolabel("report", "evidence.json", "-o", "out", *extra)
        assert code == 2
        assert "--inputs and --key go with --policy" in err
    code, _, err = radiolabel("report", "evidence.json", "-o", "out", "--policy", "easy.json", "--inputs", "nowhere")
    assert code == 2
    assert "not a folder" in err
    assert not (folder / "out").exists()


def test_what_is_no_evidence_is_refused_and_nothing_is_written(folder):
    (folder / "text").write_text("Hello\n")
    reporting.write(
        CASES["closed-missed"] | {"decision": CASES["closed-missed"]["decision"] | {"tests": []}}, folder / "bad"
    )
    for name, message in (
        ("text", "not an evidence file"),
        ("bad", "decision.tests is [], expected"),
        ("none", "cannot be read"),
    ):
        code, out, err = radiolabel("report", name, "-o", "out")
        assert (code, out) == (2, "")
        assert message in err
    lying = json.loads(json.dumps(CASES["closed-missed"]))
    lying["decision"]["tests"][0]["found"] = True
    reporting.write(lying, folder / "lying")
    code, _, err = radiolabel("report", "lying", "-o", "out")
    assert code == 3
    assert "says otherwise" in err
    assert "hint: " in err
    assert not (folder / "out").exists()


@pytest.mark.parametrize("name", ["jinja2", "matplotlib"])
def test_a_missing_package_is_named(folder, name):
    code = f"import sys; sys.modules[{name!r}] = None; from verify.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "report", "evidence.json", "-o", "out"],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 2
    assert f"the package {name} is not installed" in done.stderr
    assert "hint: pip install radiolabel[report]" in done.stderr
    assert not (folder / "out").exists()


def test_from_marked_text_to_a_checked_report(tmp_path, marked, tokenizer_file):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "marked.jsonl").write_bytes((marked / "marked.jsonl").read_bytes())
    (inputs / "tokenizer.json").write_bytes(tokenizer_file.read_bytes())
    key, signer, plan, made = (
        marked / "fleet.key",
        tmp_path / "s.pem",
        tmp_path / "plan.json",
        tmp_path / "evidence.json",
    )
    commands = (
        ("key", "signer", "-o", signer),
        (
            *("plan", "new", "--hypothesis", "closed", "--name", "q4", "--family", "q4", "--correction", "none"),
            *("--alpha", "1e-6", "--key", key, "--suspect", "rival", "--origin", "its page", "--tokenizer"),
            *(inputs / "tokenizer.json", "--n", 12, "--repeated-windows", "skip", "--pair-weights", "distinct"),
            *("--input-format", "auto", "--decoys", 200, "--token-ids", "no", "--with-prompts", "no", "--served", "no"),
            *("--no-filters", "--input", f"input={inputs / 'marked.jsonl'}", "-o", plan),
        ),
        (
            *("evidence", plan, "--input", f"input={inputs / 'marked.jsonl'}", "--input"),
            *(
                f"tokenizer={inputs / 'tokenizer.json'}",
                "--key",
                key,
                "--signer",
                signer,
                "--unsafe-no-plan",
                "-o",
                made,
            ),
        ),
        (
            *(
                "policy",
                "--signer",
                signer,
                "--tsa-certs",
                "none",
                "--released",
                "unknown",
                "--beacon-value",
                "unknown",
            ),
            *("--require", "measured", "--require", "decision", "-o", tmp_path / "policy.json"),
        ),
        (
            "report",
            made,
            "--policy",
            tmp_path / "policy.json",
            "--inputs",
            inputs,
            "--key",
            key,
            "-o",
            tmp_path / "r.html",
        ),
    )
    for command in commands:
        code, _, err = radiolabel(*command)
        assert (command[0], code, err if code else "") == (command[0], 0, "")
    text = (tmp_path / "r.html").read_text()
    assert "Yes. The mark of the key was found. If this was the only look at the data, a model that never saw" in text
    assert "this report did not check" not in text
    assert "The file was accepted under the policy" in text
    assert "<td>measured</td><td>ok</td>" in text
