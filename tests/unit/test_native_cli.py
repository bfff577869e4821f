"""`radiolabel provision` and `radiolabel verify --native-key`, by the real command, on text of the real engines."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import radiolabel
from tests.conftest import make_epoch
from watermark.keyfile import write_key

FOLDER = Path(__file__).parents[1] / "vectors" / "native"
VLLM, SGLANG, TRANSFORMERS = (
    json.loads((FOLDER / f"{name}.json").read_text()) for name in ("vllm", "sglang", "transformers")
)
GREEN = TRANSFORMERS["greenlist_answers"]
CASES = {
    "vllm-gumbel": ({"watermark-config": {"key": int(VLLM["key"])}}, VLLM["single"]),
    "vllm-dual-key-gumbel": ({"key": int(VLLM["key"]), "algorithm": "dual_key_gumbel"}, VLLM["dual"]),
    "sglang-gumbel": ({"key": SGLANG["key"]}, SGLANG["single"]),
    "synthid": ({"ngram_len": 5, "keys": TRANSFORMERS["synthid_keys"]}, TRANSFORMERS["synthid_answers"]),
    "transformers-greenlist:vocabulary=512": (GREEN["lefthash"]["config"], GREEN["lefthash"]["answers"]),
}


def secret_file(path, record):
    path.write_text(json.dumps(record))
    path.chmod(0o600)
    return path


@pytest.fixture
def case(tmp_path):
    def make(spec):
        configuration, answers = CASES[spec]
        (tmp_path / "answers.jsonl").write_text("".join(json.dumps({"token_ids": a}) + "\n" for a in answers))
        return secret_file(tmp_path / "native.json", configuration), tmp_path / "answers.jsonl"

    return make


@pytest.mark.parametrize("spec", CASES)
def test_text_of_the_real_engine_is_found(spec, case, tmp_path):
    key, answers = case(spec)
    code, out, err = radiolabel("verify", "--scheme", spec, "--native-key", key, "--format", "json", answers)
    assert (code, err) == (0, "")
    f = json.loads(out)
    assert f["found"]
    assert f["log10_p"] < -80
    assert f["log10_p_stated"] >= f["log10_p"]
    assert f["n_seen"] == f["n_scored"] + sum(f["n_dropped"].values())
    assert f["assumptions"]
    assert f["warnings"]
    assert (f["decoys"] is None) == spec.startswith("transformers")
    assert f["options"]["repeated_windows"] == ("score" if spec.startswith("transformers") else "skip")
    assert f["decoys"] is None or f["decoys"]["rank"] == 1
    for value in (VLLM["key"], SGLANG["key"], str(TRANSFORMERS["synthid_keys"][0])):
        assert value not in out
    code, text, _ = radiolabel("verify", "--scheme", spec, "--native-key", key, "--format", "text", answers)
    assert code == 0
    assert "What the engine's function cannot carry" in text
    assert max(map(len, text.splitlines())) <= 80
    for warning in f["warnings"]:
        assert " ".join(warning.split()[:4]) in " ".join(text.split())


@pytest.mark.parametrize("spec", CASES)
def test_a_provisioned_key_finds_nothing_in_it(spec, case, tmp_path):
    write_key(make_epoch(2), tmp_path / "epoch.key")
    name = spec.partition(":")[0]
    engine = next(e for e in ("vllm", "sglang", "transformers", "transformers") if name.startswith(e)) if (
        name != "synthid") else "transformers"  # fmt: skip
    made = tmp_path / "made.yaml"
    code, out, err = radiolabel("provision", "--engine", engine, "--scheme", name, tmp_path / "epoch.key", "-o", made)
    assert (code, out) == (0, "")
    assert f"epoch/test/native/{name}" in err
    assert made.stat().st_mode & 0o777 == 0o600
    secrets = [v for v in json.loads(made.read_text()).get("watermark-config", {}).values() if isinstance(v, int)]
    assert not [s for s in secrets if s > 1000 and str(s) in err]
    _, answers = case(spec)
    options = ("--native-key", made, "--exit-code", "--format", "json", "--decoys", "20")
    code, out, _ = radiolabel("verify", "--scheme", spec, *options, answers)
    f = json.loads(out)
    assert (code, f["found"]) == (1, False)
    assert f["log10_p"] > -5
    assert f["decoys"]["n"] == 20
    code, _, err = radiolabel("provision", "--engine", engine, "--scheme", name, tmp_path / "epoch.key", "-o", made)
    assert code == 2
    assert "never overwritten" in err


def test_what_does_not_go_together_is_said(case, tmp_path):
    key, answers = case("sglang-gumbel")
    write_key(make_epoch(2).value_key("fleet"), tmp_path / "fleet.key")
    native = ("--scheme", "sglang-gumbel", "--native-key", key)
    for arguments, code, said in (
        (("--native-key", key), 2, "go together"),
        (("--scheme", "sglang-gumbel"), 2, "go together"),
        ((*native, "--key", tmp_path / "fleet.key"), 2, "--key does not go"),
        ((*native, "--weights", "counts"), 2, "--weights counts does not go"),
        ((*native, "--alpha", "1e-10"), 3, "below 2^-32"),
        (("--scheme", "vllm-gumbel", "--native-key", key), 2, "key is not a whole number"),
        (("--scheme", "gumbel", "--native-key", key), 2, "unknown scheme"),
        ((*native, answers), 2, "reading in parts does not go"),
    ):
        found, _, err = radiolabel("verify", *arguments, answers)
        assert (found, said in err) == (code, True), err
        assert SGLANG["key"] not in err
    key.chmod(0o644)
    assert radiolabel("verify", *native, answers)[0] == 2
    code, _, err = radiolabel("provision", "--engine", "vllm", tmp_path / "fleet.key", "-o", tmp_path / "x.yaml")
    assert code == 2
    assert "not an epoch key" in err
    write_key(make_epoch(2), tmp_path / "epoch.key")
    for arguments in (
        ("--engine", "vllm", "-o", "x.json"),
        ("--engine", "vllm", "--scheme", "synthid", "-o", "x.yaml"),
    ):
        assert radiolabel("provision", *arguments, tmp_path / "epoch.key", cwd=None)[0] == 2
    assert not (tmp_path / "x.yaml").exists()
