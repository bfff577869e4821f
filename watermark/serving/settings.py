"""What the operator decides: a TOML file, and an environment variable for each of its fields."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from watermark.errors import Error, SettingsError
from watermark.keys import check_name

CONFIG: Final = "RADIOLABEL_CONFIG"
_PREFIX: Final = "RADIOLABEL_"
_NOT_FIELDS: Final = (CONFIG, "RADIOLABEL_VLLM_PYTHON")  # the second: which interpreter the tests run servers with
MODES: Final = ("enforce", "default-on", "opt-in")
ON_BAD_TICKET: Final = ("refuse", "unmarked")
MAX_BYTES: Final = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one engine marks.

    Attributes:
        keys: directory of the epoch key files.
        mode: what an answer without a ticket is: `enforce` refused, `default-on` marked for the anonymous account,
            `opt-in` unmarked.
        anonymous_epoch: epoch of answers without a ticket; needed for default-on.
        anonymous_account: their account slot, if accounts have a share.
        anonymous_cohort: their cohort slot, if cohorts have a share.
        on_bad_ticket: `refuse`, or `unmarked`: drawn without a mark and counted.
        strict: an engine's placeholder in an answer is an error, not only counted.
        reload_seconds: time between two looks at the key directory; 0 is never.
        metrics_port: where Prometheus finds the metrics, on the loopback address; 0 is nowhere.
        self_test: whether every key is tried before it serves.
    """

    keys: str
    mode: str
    anonymous_epoch: str = ""
    anonymous_account: str = ""
    anonymous_cohort: str = ""
    on_bad_ticket: str = "refuse"
    strict: bool = True
    reload_seconds: float = 60.0
    metrics_port: int = 0
    self_test: bool = True

    def __post_init__(self) -> None:
        _one_of("mode", self.mode, MODES)
        _one_of("on_bad_ticket", self.on_bad_ticket, ON_BAD_TICKET)
        if not self.keys:
            raise SettingsError("keys is empty", hint="name the directory of the epoch key files")
        for name in ("anonymous_epoch", "anonymous_account", "anonymous_cohort"):
            if getattr(self, name):
                try:
                    check_name(getattr(self, name))
                except Error as error:
                    raise SettingsError(f"{name}: {error}", hint=error.hint) from None
        if self.mode == "default-on" and not self.anonymous_epoch:
            raise SettingsError(
                "mode default-on needs anonymous_epoch",
                hint="name the epoch, and the account and cohort slots, of answers without a ticket",
            )
        if not 0 <= self.reload_seconds <= 86_400:
            raise SettingsError(f"reload_seconds {self.reload_seconds} is not in 0..86400")
        if not 0 <= self.metrics_port <= 65_535:
            raise SettingsError(f"metrics_port {self.metrics_port} is not in 0..65535")

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Settings from the file that `RADIOLABEL_CONFIG` names, if any, and `RADIOLABEL_*`, which goes first.

        Raises:
            SettingsError: a file that cannot be read, an unknown or missing field, a value that is not allowed.
        """
        environ = os.environ if environ is None else environ
        known = {field.name: type(field.default) for field in fields(cls)} | {"keys": str, "mode": str}
        values = _from_file(environ[CONFIG], known) if environ.get(CONFIG) else {}
        for variable, text in environ.items():
            name = variable.removeprefix(_PREFIX).lower()
            if not variable.startswith(_PREFIX) or variable in _NOT_FIELDS:
                continue
            if name not in known:
                raise SettingsError(f"unknown variable {variable[:60]}", hint=f"fields are {', '.join(known)}")
            values[name] = _from_text(variable, text, known[name])
        for name in ("keys", "mode"):
            if name not in values:
                raise SettingsError(
                    f"{name} is not set", hint=f"set it in the file {CONFIG} names, or {_variable(name)}"
                )
        return cls(**values)


def _from_file(path: str, known: Mapping[str, type]) -> dict[str, Any]:
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise SettingsError(f"{path} is longer than {MAX_BYTES} bytes")
        values = tomllib.loads(raw.decode())
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise SettingsError(f"{path} is not a TOML file") from None
    for name, value in values.items():
        if name not in known:
            raise SettingsError(f"{path}: unknown field {name[:60]!r}", hint=f"fields are {', '.join(known)}")
        wanted = known[name]
        if wanted is float and type(value) is int:
            values[name] = float(value)
        elif type(value) is not wanted:
            raise SettingsError(f"{path}: {name} is a {type(value).__name__}, expected {wanted.__name__}")
    return values


def _from_text(variable: str, text: str, wanted: type) -> Any:
    try:
        if wanted is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]
        return wanted(text)
    except (KeyError, ValueError):
        raise SettingsError(f"{variable} is {text[:60]!r}, expected {wanted.__name__}") from None


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SettingsError(f"{name} is {value[:60]!r}, expected {', '.join(allowed)}")


def _variable(name: str) -> str:
    return _PREFIX + name.upper()
