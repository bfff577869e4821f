import json
import os
import stat

import pytest

from tests.cli.conftest import limit_file_size, radiolabel


def test_new_derive_and_id_agree(keys):
    for name in ("master", "epoch", "fleet"):
        code, out, _ = radiolabel("key", "id", keys / f"{name}.key")
        assert code == 0
        assert out.strip() == json.loads((keys / f"{name}.key").read_text())["id"]
        assert stat.S_IMODE(os.stat(keys / f"{name}.key").st_mode) == 0o600


def test_derive_prints_only_the_id(keys):
    code, out, err = radiolabel(
        "key", "derive", keys / "epoch.key", "--path", "epoch/e/fleet", "-o", keys / "again.key"
    )
    assert (code, err) == (0, "")
    assert out.strip() == json.loads((keys / "fleet.key").read_text())["id"]


def test_derived_file_names_scheme_width_and_shares(keys):
    radiolabel(
        *("key", "derive", keys / "master.key", "--path", "epoch/x/account/17", "--scheme", "tournament:layers=20"),
        *("--width", "3", "--shares", "account=0.5,leaf=0.5", "-o", keys / "a.key"),
    )
    record = json.loads((keys / "a.key").read_text())
    assert record["scheme"] == "tournament:layers=20"
    assert record["width"] == 3
    assert record["shares"] == {"account": 500_000, "leaf": 500_000}


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["new", "-o", "fleet.key"], "fleet.key exists, and a key file is never overwritten", "choose another name"),
        (["new"], "Missing option '-o'", "see radiolabel key new --help"),
        (["new", "-o", "no/such.key"], "cannot be written: No such file or directory", None),
        (["id", "none.key"], "key file none.key cannot be read: No such file", None),
        (["id", "broken.key"], "broken.key is not a key file, or is truncated", None),
        (["id", "open.key"], "key file open.key can be read by others", "chmod 600 open.key"),
        (["id", "later.key"], "has version 2, and this program reads version 1", "upgrade radiolabel"),
        (["derive", "master.key", "--path", "epoch", "-o", "x"], "path 'epoch' is not a key path", "use epoch/NAME"),
        (["derive", "master.key", "--path", "epoch/e", "--scheme", "kgw", "-o", "x"], "unknown scheme 'kgw'", "gumbel"),
        (["derive", "master.key", "--path", "epoch/e", "--width", "4", "-o", "x"], "width 4 is not", None),
        (
            ["derive", "epoch.key", "--path", "epoch/e/fleet", "--width", "1", "-o", "x"],
            "--width cannot be chosen",
            None,
        ),
        (["derive", "epoch.key", "--path", "epoch/f/fleet", "-o", "x"], "does not lie below epoch/e", "master key"),
        (["derive", "fleet.key", "--path", "epoch/e/fleet", "-o", "x"], "nothing can be derived", "epoch key"),
        (
            ["derive", "master.key", "--path", "epoch/e", "--beacon", "xyz", "-o", "x"],
            "--beacon is not hexadecimal",
            None,
        ),
    ],
)
def test_bad_use_exits_with_2_and_writes_nothing(keys, arguments, message, hint):
    (keys / "broken.key").write_bytes((keys / "fleet.key").read_bytes()[:-40])
    (keys / "open.key").write_bytes((keys / "fleet.key").read_bytes())
    (keys / "later.key").write_text((keys / "fleet.key").read_text().replace('"version": 1', '"version": 2'))
    for name in ("broken", "later"):
        (keys / f"{name}.key").chmod(0o600)
    (keys / "open.key").chmod(0o644)
    before = {p: p.read_bytes() for p in keys.iterdir()}
    code, out, err = radiolabel("key", *arguments, cwd=keys)
    assert (code, out) == (2, "")
    assert message in err
    assert hint is None or hint in err.split("hint: ")[1]
    assert "Traceback" not in err
    assert {p: p.read_bytes() for p in keys.iterdir()} == before
    for path in ("master.key", "epoch.key", "fleet.key"):
        record = json.loads((keys / path).read_text())
        assert not any(record.get(f, "\0") in err for f in ("secret", "value_key", "selector_key"))


def test_full_disk_leaves_no_half_key(keys):
    code, _, err = radiolabel("key", "new", "-o", keys / "x.key", preexec_fn=limit_file_size)
    assert code == 2
    assert "x.key cannot be written: File too large" in err
    assert not (keys / "x.key").exists()
