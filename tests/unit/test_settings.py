import pytest

from watermark.errors import SettingsError
from watermark.serving.settings import Settings

BASE = {"RADIOLABEL_KEYS": "/keys", "RADIOLABEL_MODE": "enforce"}


def load(tmp_path, text, **environ):
    (tmp_path / "c.toml").write_text(text)
    return Settings.load({"RADIOLABEL_CONFIG": str(tmp_path / "c.toml")} | environ)


def test_a_file_and_the_environment_which_goes_first(tmp_path):
    found = load(
        tmp_path,
        'keys = "/a"\nmode = "default-on"\nanonymous_epoch = "q4"\nreload_seconds = 5\nstrict = false\n',
        RADIOLABEL_KEYS="/b",
        RADIOLABEL_RELOAD_SECONDS="2.5",
        RADIOLABEL_METRICS_PORT="9100",
        RADIOLABEL_SELF_TEST="0",
    )
    assert found == Settings(
        keys="/b",
        mode="default-on",
        anonymous_epoch="q4",
        reload_seconds=2.5,
        strict=False,
        metrics_port=9100,
        self_test=False,
    )


def test_defaults_are_the_strict_ones():
    found = Settings.load(BASE)
    assert (found.on_bad_ticket, found.strict, found.self_test, found.metrics_port) == ("refuse", True, True, 0)


@pytest.mark.parametrize("missing", ["RADIOLABEL_KEYS", "RADIOLABEL_MODE"])
def test_keys_and_mode_have_no_default(missing):
    with pytest.raises(SettingsError, match="is not set") as caught:
        Settings.load({name: value for name, value in BASE.items() if name != missing})
    assert missing in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('mod = "enforce"', "unknown field 'mod'"),
        ("mode = 1", "mode is a int, expected str"),
        ("mode = true", "mode is a bool, expected str"),
        ('keys = ["a"]', "keys is a list, expected str"),
        ("strict = 1", "strict is a int, expected bool"),
        ('strict = "false"', "strict is a str, expected bool"),
        ("metrics_port = true", "metrics_port is a bool, expected int"),
        ("metrics_port = 1.0", "metrics_port is a float, expected int"),
        ("metrics_port = 65536", "metrics_port 65536 is not in"),
        ("metrics_port = -1", "metrics_port -1 is not in"),
        ("reload_seconds = nan", "reload_seconds nan is not in"),
        ("reload_seconds = inf", "reload_seconds inf is not in"),
        ("reload_seconds = true", "reload_seconds is a bool"),
        ("[mode]", "mode is a dict, expected str"),
        ("mode = ", "is not a TOML file"),
        ("a = 1\na = 2", "is not a TOML file"),
        ("x = " + "[" * 5000, "is not a TOML file"),
        ("#" * 70_000, "is longer than"),
        ("\x00", "is not a TOML file"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, text, message):
    with pytest.raises(SettingsError, match=message):
        load(tmp_path, text, **BASE)


def test_a_file_that_is_no_text_or_not_there(tmp_path):
    (tmp_path / "b").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="is not a TOML file"):
        Settings.load(BASE | {"RADIOLABEL_CONFIG": str(tmp_path / "b")})
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        Settings.load(BASE | {"RADIOLABEL_CONFIG": str(tmp_path / "none")})
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        Settings.load(BASE | {"RADIOLABEL_CONFIG": str(tmp_path)})


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"RADIOLABEL_MODE": "off"}, "mode is 'off', expected enforce, default-on, opt-in"),
        ({"RADIOLABEL_MODE": ""}, "mode is '', expected"),
        ({"RADIOLABEL_KEYS": ""}, "keys is empty"),
        ({"RADIOLABEL_ON_BAD_TICKET": "pass"}, "on_bad_ticket is 'pass', expected refuse, unmarked"),
        ({"RADIOLABEL_STRICT": "maybe"}, "RADIOLABEL_STRICT is 'maybe', expected bool"),
        ({"RADIOLABEL_METRICS_PORT": "1e3"}, "RADIOLABEL_METRICS_PORT is '1e3', expected int"),
        ({"RADIOLABEL_RELOAD_SECONDS": "soon"}, "expected float"),
        ({"RADIOLABEL_RELOAD_SECONDS": "nan"}, "reload_seconds nan is not in"),
        ({"RADIOLABEL_MODE": "default-on"}, "mode default-on needs anonymous_epoch"),
        ({"RADIOLABEL_ANONYMOUS_ACCOUNT": "a b"}, "anonymous_account: name 'a b' cannot be part of a key path"),
        ({"RADIOLABEL_ANONYMOUS_EPOCH": ".."}, "anonymous_epoch: name"),
        ({"RADIOLABEL_STRICTT": "0"}, "unknown variable RADIOLABEL_STRICTT"),
    ],
)
def test_a_bad_environment_is_refused(environ, message):
    with pytest.raises(SettingsError, match=message):
        Settings.load(BASE | environ)
