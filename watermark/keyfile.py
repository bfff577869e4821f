"""Key files: created exclusively, mode 0600, never overwritten, checked whole when read.

Normative text: docs/spec/key-file.md, section 4.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
from pathlib import Path
from typing import Any, Final

from watermark.channels import Shares
from watermark.deployment import Deployment
from watermark.errors import KeyFileError
from watermark.keys import AES_BYTES, NODE_BYTES, AnyKey, CoinKey, EpochKey, GatewayKey, MasterKey, ValueKey, check_name
from watermark.prf import PRF_ID
from watermark.schemes import parse
from watermark.secret import Secret, write_secret_file

VERSION: Final = 1
MAX_BYTES: Final = 16 * 1024


def write_key(key: AnyKey, path: str | Path) -> None:
    """Write a key to a new file.

    Raises:
        KeyFileError: the file exists, or cannot be written.
    """
    record: dict[str, Any] = {"radiolabel": "key", "version": VERSION, "kind": _kind(key), "id": key.id}
    record["path"] = key.path
    if isinstance(key, EpochKey | ValueKey):
        d = key.deployment
        record |= {"prf": PRF_ID, "scheme": d.scheme.spec, "width": d.width, "shares": d.shares.mapping()}
    if isinstance(key, ValueKey):
        record |= {"value_key": key.value.reveal().hex(), "selector_key": key.selector.reveal().hex()}
    else:
        record["secret"] = key.secret.reveal().hex()
    _refuse_dash(path)
    try:
        write_secret_file(path, json.dumps(record, indent=1).encode() + b"\n")
    except FileExistsError:
        raise KeyFileError(
            f"{path} exists, and a key file is never overwritten", hint="choose another name, or move it away first"
        ) from None
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}") from None


def read_key(path: str | Path) -> AnyKey:
    """Read a key file.

    Raises:
        KeyFileError: it is unreadable, open to others, truncated, of a later version, or not what it says.
    """
    _refuse_dash(path)
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISFIFO(mode):
                raise KeyFileError(f"key file {path} is not a file")
            if stat.S_IMODE(mode) & 0o077 and os.name == "posix":
                raise KeyFileError(f"key file {path} can be read by others", hint=f"chmod 600 {shlex.quote(str(path))}")
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise KeyFileError(f"key file {path} cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise KeyFileError(f"{path} is not a key file: it is longer than {MAX_BYTES} bytes")
    try:
        # The message never quotes the content: it may be half a secret.
        record = json.loads(raw.decode("ascii"), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise KeyFileError(f"{path} is not a key file, or is truncated: it does not hold one JSON object") from None
    if not isinstance(record, dict) or record.pop("radiolabel", None) != "key":
        raise KeyFileError(f"{path} is not a radiolabel key file")
    version = record.pop("version", None)
    if type(version) is not int or version != VERSION:
        later = isinstance(version, int) and version > VERSION
        shown = str(version)[:20] if isinstance(version, int | float) else "<hidden>"  # it may be a secret
        raise KeyFileError(
            f"key file {path} has version {shown}, and this program reads version {VERSION}",
            hint="upgrade radiolabel" if later else None,
        )
    try:
        return _decode(record)
    except KeyFileError as error:
        # A secret may stand in the wrong field, and the message quotes the field.
        shown = re.sub(r"[0-9A-Fa-f]{16,}", "<hidden>", str(error))
        raise KeyFileError(f"key file {path}: {shown}", hint=error.hint) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a field stands twice")
    return dict(pairs)


def _refuse_dash(path: str | Path) -> None:
    if str(path) in ("", "-"):
        raise KeyFileError(f"{str(path)!r} is not the name of a key file: keys do not pass through pipes")


def _kind(key: AnyKey) -> str:
    names = {MasterKey: "master", EpochKey: "epoch", ValueKey: "value", CoinKey: "coin", GatewayKey: "gateway"}
    return names[type(key)]


def _decode(record: dict[str, Any]) -> AnyKey:
    kind, stated_id, path = (_text(record, name) for name in ("kind", "id", "path"))
    key: AnyKey
    if kind == "master":
        key = MasterKey(_secret(record, "secret", NODE_BYTES))
    elif kind == "epoch":
        deployment = _deployment(record)
        name = check_name(path.removeprefix("epoch/"))
        key = EpochKey(_secret(record, "secret", NODE_BYTES), name, deployment)
    elif kind == "value":
        deployment = _deployment(record)
        value, selector = (_secret(record, name, AES_BYTES) for name in ("value_key", "selector_key"))
        key = ValueKey(value, selector, _value_path(path), deployment)
    elif kind == "coin":
        name = check_name(path.removeprefix("epoch/").removesuffix("/coin"))
        key = CoinKey(_secret(record, "secret", NODE_BYTES), f"epoch/{name}/coin")
    elif kind == "gateway":
        name = check_name(path.removeprefix("epoch/").removesuffix("/gateway"))
        key = GatewayKey(_secret(record, "secret", NODE_BYTES), f"epoch/{name}/gateway")
    else:
        raise KeyFileError(f"unknown kind {kind[:20]!r}")
    if record:
        raise KeyFileError(f"unknown field {sorted(record)[0][:60]!r}")
    if key.path != path or key.id != stated_id:
        raise KeyFileError("the id does not follow from the keys and parameters: the file was changed")
    return key


def _value_path(path: str) -> str:
    parts = path.split("/")
    channel = (len(parts), *parts[2:3])
    if parts[0] != "epoch" or channel not in ((3, "fleet"), (4, "cohort"), (4, "account")):
        raise KeyFileError(f"path {path[:60]!r} is not a value key's")
    for name in (parts[1], *parts[3:]):
        check_name(name)
    return path


def _deployment(record: dict[str, Any]) -> Deployment:
    if _text(record, "prf") != PRF_ID:
        raise KeyFileError("unknown prf", hint="upgrade radiolabel")
    shares = record.pop("shares", None)
    if not isinstance(shares, dict):
        raise KeyFileError("field shares is missing or not an object")
    spec = _text(record, "scheme")
    deployment = Deployment(parse(spec), record.pop("width", None), Shares.from_mapping(shares))
    if deployment.scheme.spec != spec or deployment.shares.mapping() != shares:
        raise KeyFileError("scheme or shares are not in their canonical form")
    return deployment


def _text(record: dict[str, Any], name: str) -> str:
    value = record.pop(name, None)
    if not isinstance(value, str):
        raise KeyFileError(f"field {name} is missing or not a string")
    return value


def _secret(record: dict[str, Any], name: str, size: int) -> Secret:
    text = _text(record, name)
    if not re.fullmatch(f"[0-9a-f]{{{2 * size}}}", text):
        raise KeyFileError(f"field {name} is not {2 * size} hexadecimal digits: is the file truncated?")
    return Secret(bytes.fromhex(text))
