import gzip
import json
import os
import re
import signal
import subprocess
import time

import pytest
import zstandard

from tests.cli.conftest import RADIOLABEL, radiolabel

FIELDS = {
    *("n_seen", "n_dropped", "n_scored", "log10_p", "log10_e", "excess", "excess_interval", "decoys", "scheme"),
    *("key_id", "channel"),
}


@pytest.fixture
def verify(marked, tokenizer_file):
    def run(*arguments, key="fleet.key", **options):
        return radiolabel("verify", "--key", marked / key, "--tokenizer", tokenizer_file, *arguments, **options)

    return run


def test_marked_text_is_found(verify, marked):
    code, out, err = verify(marked / "marked.jsonl", "--decoys", "200")
    assert (code, err) == (0, "")
    f = json.loads(out)
    assert set(f) >= FIELDS
    assert f["found"]
    assert f["log10_p"] < -100
    assert f["log10_e"] > 90
    assert f["excess_interval"][0] > 1
    assert (f["decoys"]["n"], f["decoys"]["rank"]) == (200, 1)
    assert f["n_seen"] == sum(f["n_dropped"].values()) + f["n_scored"]
    assert f["key_id"] == json.loads((marked / "fleet.key").read_text())["id"]
    assert "10^" in f["sentence"]


@pytest.mark.parametrize("key", ["other.key"])
def test_the_wrong_key_finds_nothing(verify, marked, key):
    code, out, _ = verify(marked / "marked.jsonl", key=key)
    f = json.loads(out)
    assert code == 0
    assert not f["found"]
    assert f["log10_p"] > -4
    assert f["log10_e"] < 2
    assert f["decoys"]["rank"] > 1


def test_clean_prose_is_not_found(verify, prose):
    code, out, _ = verify("-", input="\n".join(prose))
    f = json.loads(out)
    assert code == 0
    assert not f["found"]
    assert f["smallest_share"] < 0.1
    assert "Not found does not mean not there" in f["sentence"]


def test_exit_code_says_no_only_when_asked(verify, marked):
    assert verify(marked / "marked.jsonl", "--exit-code")[0] == 0
    assert verify(marked / "marked.jsonl", "--exit-code", key="other.key")[0] == 1


def test_every_input_format_gives_the_same_number(verify, marked, tmp_path):
    records = [json.loads(line) for line in (marked / "marked.jsonl").read_text().splitlines()]
    raw = (marked / "marked.jsonl").read_bytes()
    chats = [
        {"messages": [{"role": "user", "content": r["prompt"]}, {"role": "assistant", "content": r["response"]}]}
        for r in records
    ]
    made = {
        "gz": gzip.compress(raw),
        "zst": zstandard.compress(raw),
        "sharegpt": json.dumps(chats).encode(),
        "openai": "\n".join(
            json.dumps(
                {
                    "choices": [{"message": {"content": r["response"]}}],
                    "messages": [{"role": "user", "content": r["prompt"]}],
                }
            )
            for r in records
        ).encode(),
        "text": "\n".join(json.dumps({"text": r["response"], "prompt": r["prompt"]}) for r in records).encode(),
    }
    want = json.loads(verify(marked / "marked.jsonl")[1])
    digests = {want.pop("options")["sha256"]["input"]}
    for name, data in made.items():
        path = tmp_path / name
        path.write_bytes(data)
        code, out, err = verify(path)
        assert (code, err) == (0, "")
        got = json.loads(out)
        digests.add(got.pop("options")["sha256"]["input"])
        assert got == want, name
    assert len(digests) == 1 + len(made)


def test_prompts_file_excludes_what_could_be_copied(verify, marked, tmp_path):
    """A model that was shown marked text and repeats it must not look marked."""
    records = [json.loads(line) for line in (marked / "marked.jsonl").read_text().splitlines()]
    (tmp_path / "answers.jsonl").write_text("\n".join(json.dumps({"text": r["response"]}) for r in records))
    (tmp_path / "prompts.jsonl").write_text("\n".join(json.dumps(f"Repeat this:{r['response']}") for r in records))
    code, out, err = verify(tmp_path / "answers.jsonl", "--prompts", tmp_path / "prompts.jsonl")
    assert (code, out) == (3, "")
    assert "only 0 of" in err


def test_text_output_fits_80_columns(verify, marked):
    code, out, _ = verify(marked / "marked.jsonl", "--format", "text")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "rank among decoys" in out


def test_jsonl_is_one_line(verify, marked):
    assert verify(marked / "marked.jsonl", "--format", "jsonl")[1].count("\n") == 1


BAD = {
    "empty": (b"", 2, "empty"),
    "blank": (b"\n \n\n", 2, ""),
    "json": (b'{"text": "a"}\n{"text": \n', 2, "json:2"),
    "utf8": (b'{"text": "a"}\n{"text": "\xff"}\n', 2, "utf8:2"),
    "nul": (b"plain \x00 text", 2, "nul"),
    "nan": (b'{"token_ids": [1, NaN]}', 2, "nan:1"),
    "negative": (b'{"token_ids": [1, -1]}', 2, "negative:1"),
    "large": (b'{"token_ids": [1, 4294967296]}', 2, "large:1"),
    "above the vocabulary": (b'{"token_ids": [1, 4096]}', 2, "4096"),
    "few": (b'{"text": "just a few words"}', 3, "can be scored"),
    "digest": (json.dumps({"radiolabel": "transcript", "version": 1, "id": "1", "prompt": "", "response": "x",
                           "token_ids": [1], "tokenizer": "sha256:" + "0" * 64}).encode(), 3, "tokenizer"),
    "later": (b'{"radiolabel": "transcript", "version": 2, "id": "1", "prompt": "", "response": "x"}', 2, "later:1"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_names_the_place_and_prints_nothing(verify, tmp_path, name):
    data, expected, message = BAD[name]
    path = tmp_path / name
    path.write_bytes(data)
    code, out, err = verify(path)
    assert (code, out) == (expected, "")
    assert message in err
    assert str(path) in err or expected == 3
    assert "Traceback" not in err


def test_broken_json_in_line_one_million(verify, tmp_path):
    path = tmp_path / "big.jsonl"
    with open(path, "wb") as file:
        file.write(b'{"token_ids": [1, 2, 3]}\n' * 999_999 + b'{"token_ids": [1, 2\n')
    code, out, err = verify(path)
    assert (code, out) == (2, "")
    assert f"{path}:1000000" in err


def test_a_line_of_200_megabytes_is_refused(verify):
    process = subprocess.Popen(
        ["sh", "-c", 'printf \'{"text": "a"}\\n{"text": "\'; yes a | tr -d \'\\n\' | head -c 200000000'],
        stdout=subprocess.PIPE,
    )
    code, out, err = verify("-", stdin=process.stdout)
    process.stdout.close()
    process.wait()
    assert (code, out) == (2, "")
    assert "<stdin>:2" in err


@pytest.mark.parametrize(
    ("key", "message"),
    [("epoch.key", "epoch.key is not a value key"), ("master.key", "is not a value key"), ("none", "cannot be read")],
)
def test_wrong_keys_are_refused(keys, tokenizer_file, marked, key, message):
    code, out, err = radiolabel("verify", "--key", keys / key, "--tokenizer", tokenizer_file, marked / "marked.jsonl")
    assert (code, out) == (2, "")
    assert message in err


def test_text_without_a_tokenizer_says_so(marked):
    code, _, err = radiolabel("verify", "--key", marked / "fleet.key", marked / "marked.jsonl")
    assert code == 2
    assert "marked.jsonl:1 has a text and needs a tokenizer" in err
    assert "hint: name the provider's tokenizer.json with --tokenizer" in err


def test_full_standard_output(marked, tokenizer_file):
    command = [*RADIOLABEL, "verify", "--key", marked / "fleet.key", "--tokenizer", tokenizer_file]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*command, marked / "marked.jsonl"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_closed_pipe_is_quiet(verify, marked, tokenizer_file):
    command = " ".join(
        map(
            str,
            [
                *RADIOLABEL,
                "verify",
                "--key",
                marked / "fleet.key",
                "--tokenizer",
                tokenizer_file,
                marked / "marked.jsonl",
            ],
        )
    )
    done = subprocess.run(
        ["bash", "-c", f"{command} | true; echo ${{PIPESTATUS[0]}}"], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert done.stdout.strip() in ("141", "0")


def test_interrupt_exits_with_130(marked, tokenizer_file):
    command = [*RADIOLABEL, "verify", "--key", marked / "fleet.key", "--tokenizer", tokenizer_file, "-"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(2)  # it waits for standard input by then
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err.strip() == "radiolabel: interrupted"


def test_unknown_command_and_option():
    assert radiolabel("no-such")[0] == 2
    code, _, err = radiolabel("verify", "--no-such")
    assert code == 2
    assert "hint: see radiolabel verify --help" in err


def test_an_internal_error_exits_with_70_and_shows_no_values(monkeypatch, capsys, marked, tokenizer_file):
    from verify import cli
    from verify.measuring import closed

    def fail(*args, **kwargs):
        raise RuntimeError("secret value")

    monkeypatch.setattr(closed, "summarize_documents", fail)
    code = cli.main(["verify", "--key", str(marked / "fleet.key"), str(marked / "marked.jsonl")])
    err = capsys.readouterr().err
    assert code == 70
    assert "internal error: RuntimeError" in err
    assert "secret value" not in err


def test_no_key_on_the_command_line_of_the_process(marked, tokenizer_file):
    """What `ps` shows names files, never keys."""
    command = [*RADIOLABEL, "verify", "--key", marked / "fleet.key", "--tokenizer", tokenizer_file, "-"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(0.5)
    with open(f"/proc/{process.pid}/cmdline", "rb") as file:
        shown = file.read().decode()
    process.kill()
    process.communicate()
    record = json.loads((marked / "fleet.key").read_text())
    assert "fleet.key" in shown
    assert not any(record[field] in shown for field in ("value_key", "selector_key"))


def test_docs_page_is_what_help_says():
    from docs.generate import PAGE, page

    assert PAGE.read_text() == page(), "run make docs"


def test_closed_or_full_standard_error_does_not_change_the_exit_code(marked, tokenizer_file):
    good = [*RADIOLABEL, "verify", "--key", marked / "fleet.key", "--tokenizer", tokenizer_file]
    good = " ".join(map(str, [*good, marked / "marked.jsonl"]))
    bad = " ".join([*RADIOLABEL, "verify", "--key", "nofile"])
    for redirect in ("2>&-", "2>/dev/full"):
        assert subprocess.run(f"{good} >/dev/null {redirect}", shell=True, check=False).returncode == 0
        assert subprocess.run(f"{bad} {redirect}", shell=True, check=False).returncode == 2
    for redirect in (">&- 2>/dev/null", "1>&- 2>&-"):
        assert subprocess.run(f"{good} {redirect}", shell=True, check=False).returncode == 2
    assert subprocess.run(f"{good} - <&- >/dev/null 2>&1", shell=True, check=False).returncode == 2


@pytest.mark.parametrize("alpha", ["nan", "0", "1", "0.6", "-1", "inf"])
def test_a_threshold_that_is_none_is_refused(verify, marked, alpha):
    code, out, err = verify(marked / "marked.jsonl", "--alpha", alpha)
    assert (code, out) == (2, "")
    assert "--alpha" in err


def test_choices_that_move_the_number_are_in_the_finding(verify, prose):
    text = "\n".join(prose[:20])
    skip, again = (json.loads(verify("--repeated-windows", r, input=text)[1]) for r in ("skip", "score"))
    assert skip["n_dropped"]["repeated_window"] > again["n_dropped"]["repeated_window"] == 0
    assert (skip["options"]["repeated_windows"], again["options"]["repeated_windows"]) == ("skip", "score")
    assert len(skip["assumptions"]) == 3


def test_failed_answers_are_counted_as_empty(verify, marked, tmp_path):
    (tmp_path / "a.jsonl").write_text((marked / "marked.jsonl").read_text() + '{"text": ""}\n' * 500)
    f = json.loads(verify(tmp_path / "a.jsonl")[1])
    assert (f["n_documents"], f["n_empty"]) == (512, 500)


def test_no_arguments_print_help():
    code, out, err = radiolabel()
    assert (code, out) == (2, "")
    assert err.startswith("Usage: radiolabel")


def test_control_characters_of_a_file_name_do_not_reach_the_terminal():
    assert "\x1b" not in radiolabel("key", "id", "a\x1b[31mb")[2]


def test_only_served_windows(marked, tokenizer_file, small_tokenizer, tmp_path):
    """Every window of the marked text was served; of a log without them, none: then nothing can be said."""

    def log(name, texts):
        records = [
            {"id": str(i), "prompt": "?", "response": text, "token_ids": small_tokenizer.encode(text).ids}
            for i, text in enumerate(texts)
        ]
        lines = [json.dumps({"radiolabel": "transcript", "version": 1} | record) for record in records]
        (tmp_path / name).write_text("\n".join(lines))
        return tmp_path / name

    arguments = ("verify", "--key", marked / "fleet.key", "--tokenizer", tokenizer_file, "--format", "json")
    _, out, _ = radiolabel(*arguments, marked / "marked.jsonl")
    whole = json.loads(out)
    texts = [json.loads(line)["response"] for line in (marked / "marked.jsonl").read_text().splitlines()]
    code, out, err = radiolabel(*arguments, "--served", log("served.jsonl", texts), marked / "marked.jsonl")
    assert (code, err) == (0, "")
    f = json.loads(out)
    assert f["n_scored"] == whole["n_scored"]
    assert f["n_dropped"]["not_served"] == 0
    assert f["log10_p"] == -f["log10_e"] == -whole["log10_e"]
    assert f["decoys"] is None
    other = log("other.jsonl", ["The key words in this text are others."])
    code, _, err = radiolabel(*arguments, "--served", other, marked / "marked.jsonl")
    assert code == 3
    assert "can be scored" in err
    code, out, err = radiolabel(*arguments, "--served", marked / "marked.jsonl", marked / "marked.jsonl")
    assert (code, out) == (3, "")
    assert "marked.jsonl:1: served without token_ids" in err


def test_help_lists_every_exit_code_in_80_columns():
    code, out, _ = radiolabel("--help", env={**os.environ, "COLUMNS": "80"})
    assert code == 0
    assert "  Example:\n" in out
    assert max(map(len, out.splitlines())) <= 80
    listed = re.findall(r"^    (\d+)  ", out[out.index("Exit codes:") :], re.MULTILINE)
    assert listed == ["0", "1", "2", "3", "70", "130", "141"]
    assert "  Example:\n" in radiolabel("test", "--help")[1]


def test_counts_as_weights(marked, tokenizer_file):
    arguments = ("verify", "--key", marked / "fleet.key", "--tokenizer", tokenizer_file, "--weights", "counts")
    code, out, err = radiolabel(*arguments, "--format", "json", marked / "marked.jsonl")
    assert (code, err) == (0, "")
    f = json.loads(out)
    assert (f["test"], f["rule"], f["found"]) == ("closed", "counts", True)
    assert f["options"]["weights"] == "counts"
    assert f["n_positions"] == 1200
    assert any("no prompt held marked text" in a for a in f["assumptions"])  # prompts are filtered pair by pair only
    _, out, _ = radiolabel(*arguments, "--format", "text", marked / "marked.jsonl")
    assert "was found in the answers" in out
    assert max(map(len, out.splitlines())) <= 80
    code, _, err = radiolabel(*arguments, "--served", marked / "marked.jsonl", marked / "marked.jsonl")
    assert code == 2
    assert "--served" in err
    code, _, _ = radiolabel(
        "verify", "--key", marked / "other.key", *arguments[3:], "--exit-code", marked / "marked.jsonl"
    )
    assert code == 1
