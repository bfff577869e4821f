"""The key tree: a parent derives its children, a child reveals nothing about siblings or parents.

Normative text: docs/spec/key-file.md, sections 1 to 3. HKDF-SHA256: RFC 5869.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from watermark.channels import CHANNELS, LEAF, WHOLE
from watermark.deployment import Deployment
from watermark.errors import KeyFileError
from watermark.prf import PRF_ID, Prf
from watermark.secret import Secret

NODE_BYTES: Final = 32
AES_BYTES: Final = 16
ID_BYTES: Final = 32
MAX_BEACON_BYTES: Final = 1024
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")


def _hkdf(ikm: bytes, length: int, *parts: str | bytes) -> bytes:
    info = b""
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        info += len(raw).to_bytes(2, "little") + raw
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(ikm)


def _child(node: Secret, kind: str, name: str = "", context: bytes = b"") -> Secret:
    return Secret(_hkdf(node.reveal(), NODE_BYTES, "radiolabel/v1/child", kind, name, context))


def _aes_key(node: Secret, purpose: str, width: int, shares: str) -> Secret:
    return Secret(_hkdf(node.reveal(), AES_BYTES, "radiolabel/v1/aes", PRF_ID, purpose, str(width), shares))


def _id_parts(path: str, d: Deployment) -> tuple[str, ...]:
    return "radiolabel/v1/id", path, PRF_ID, d.scheme.spec, str(d.width), d.shares.canonical()


def check_name(name: str) -> str:
    """Return `name` if it can be a path component.

    Raises:
        KeyFileError: it cannot.
    """
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise KeyFileError(
            f"name {name[:60]!r} cannot be part of a key path",
            hint="use 1 to 128 letters, digits, dots, underscores or hyphens",
        )
    return name


@dataclass(frozen=True)
class MasterKey:
    """The root of all keys: it stays in the provider's vault.

    Attributes:
        secret: 32 bytes.
    """

    secret: Secret

    @classmethod
    def generate(cls) -> MasterKey:
        """A new one from the operating system's generator."""
        return cls(Secret(secrets.token_bytes(NODE_BYTES)))

    @property
    def path(self) -> str:
        """The empty path."""
        return ""

    @property
    def id(self) -> str:
        """Public id, 64 hexadecimal digits."""
        return _hkdf(self.secret.reveal(), ID_BYTES, "radiolabel/v1/id", self.path).hex()

    def epoch(self, name: str, *, deployment: Deployment, beacon: bytes = b"") -> EpochKey:
        """The key of one epoch.

        Args:
            name: the epoch's name.
            deployment: how this epoch marks.
            beacon: the public beacon value the epoch is bound to, if any.
        """
        if len(beacon) > MAX_BEACON_BYTES:
            raise KeyFileError(f"a beacon value of {len(beacon)} bytes is longer than {MAX_BEACON_BYTES}")
        secret = _child(self.secret, "epoch", check_name(name), beacon)
        return EpochKey(secret=secret, name=name, deployment=deployment)


@dataclass(frozen=True)
class EpochKey:
    """What a serving sampler holds: it derives every channel of its epoch, and nothing of any other.

    Attributes:
        secret: 32 bytes.
        name: the epoch's name.
        deployment: how this epoch marks.
    """

    secret: Secret
    name: str
    deployment: Deployment

    @property
    def path(self) -> str:
        """`epoch/NAME`."""
        return f"epoch/{self.name}"

    @property
    def id(self) -> str:
        """Public id, 64 hexadecimal digits; it binds the secret and all parameters."""
        return _hkdf(self.secret.reveal(), ID_BYTES, *_id_parts(self.path, self.deployment)).hex()

    def value_key(self, channel: str, slot: str = "") -> ValueKey:
        """The key of one channel.

        Args:
            channel: `fleet`, `cohort` or `account`.
            slot: the cohort's or account's slot.
        """
        if channel not in CHANNELS[:LEAF]:
            raise KeyFileError(f"channel {channel[:60]!r} has no value key", hint="use fleet, cohort or account")
        if not self.deployment.shares.mapping().get(channel):
            raise KeyFileError(
                f"channel {channel} has no share in {self.path} ({self.deployment.shares.canonical()})",
                hint="derive the epoch with --shares that give it one",
            )
        if (channel == "fleet") != (slot == ""):
            raise KeyFileError(f"channel {channel} {'takes no' if slot else 'needs a'} slot")
        node = _child(self.secret, channel, check_name(slot) if slot else "")
        return ValueKey(
            value=self._aes(node, self.deployment.scheme.spec),
            selector=self._selector(),
            path=f"{self.path}/{channel}/{slot}".rstrip("/"),
            deployment=self.deployment,
        )

    def channel_keys(self, channel: str, slots: Iterable[str]) -> Iterator[Secret]:
        """The 16-byte value keys of many slots, as `value_key` has them: a third of its time each.

        Args:
            channel: `cohort` or `account`, with a share in this epoch.
            slots: whose keys.
        """
        purpose = self.deployment.scheme.spec
        for slot in slots:
            yield self._aes(_child(self.secret, channel, check_name(slot)), purpose)

    def selector_prf(self) -> Prf:
        """The PRF that assigns windows to channels."""
        return Prf(self._selector())

    def leaf_prf(self, request: str) -> Prf:
        """The PRF of one response's own randomness.

        Args:
            request: the response's id: never used twice in an epoch, or two answers share their randomness.
        """
        return Prf(_aes_key(_child(self.secret, "leaf", check_name(request)), "leaf", 1, ""))

    def native_bytes(self, mark: str, length: int) -> Secret:
        """Key material for a mark that an engine embeds itself, such as `vllm-gumbel` (`watermark.native`)."""
        node = _child(self.secret, "native", check_name(mark))
        return Secret(_hkdf(node.reveal(), length, "radiolabel/v1/native", mark))

    def coin_key(self) -> CoinKey:
        """What decides which requests get a second answer, and which of the two is served."""
        return CoinKey(secret=_child(self.secret, "coin"), path=f"{self.path}/coin")

    def gateway_key(self) -> GatewayKey:
        """What mints this epoch's tickets."""
        return GatewayKey(secret=_child(self.secret, "gateway"), path=f"{self.path}/gateway")

    def is_twinned(self, request: str, ppm: int) -> bool:
        """See `CoinKey.is_twinned`."""
        return self.coin_key().is_twinned(request, ppm)

    def coin(self, twin: str) -> int:
        """See `CoinKey.coin`."""
        return self.coin_key().coin(twin)

    def _selector(self) -> Secret:
        return self._aes(_child(self.secret, "selector"), "selector")

    def _aes(self, node: Secret, purpose: str) -> Secret:
        # Shares enter the keys: under another split of the windows nothing scores as before.
        return _aes_key(node, purpose, self.deployment.width, self.deployment.shares.canonical())


@dataclass(frozen=True)
class CoinKey:
    """The node of an epoch's coins: disclosed, it shows that no coin was chosen, and derives nothing else.

    Attributes:
        secret: 32 bytes.
        path: `epoch/NAME/coin`.
    """

    secret: Secret
    path: str

    @property
    def id(self) -> str:
        """Public id, 64 hexadecimal digits."""
        return _hkdf(self.secret.reveal(), ID_BYTES, "radiolabel/v1/id", self.path).hex()

    def is_twinned(self, request: str, ppm: int) -> bool:
        """Whether a second answer is drawn for this request.

        Args:
            request: the request's id.
            ppm: the share of requests that get one, in parts per million.
        """
        return int.from_bytes(self._bytes(request)[:8], "little") < (ppm << 64) // WHOLE

    def coin(self, twin: str) -> int:
        """Which member of a pair is the served one: 0 or 1, and nobody's choice.

        Args:
            twin: the request id of the pair's second draw.
        """
        return self._bytes(twin)[8] & 1

    def _bytes(self, request: str) -> bytes:
        return _hkdf(self.secret.reveal(), 9, "radiolabel/v1/coin", check_name(request))


@dataclass(frozen=True)
class GatewayKey:
    """What the provider's gateway holds: it vouches for tickets of its epoch, and derives nothing else.

    Attributes:
        secret: 32 bytes.
        path: `epoch/NAME/gateway`.
    """

    secret: Secret
    path: str

    @property
    def epoch(self) -> str:
        """The epoch's name."""
        return self.path.split("/")[1]

    @property
    def id(self) -> str:
        """Public id, 64 hexadecimal digits."""
        return _hkdf(self.secret.reveal(), ID_BYTES, "radiolabel/v1/id", self.path).hex()

    def mac(self, message: bytes) -> bytes:
        """HMAC-SHA256 of a ticket's text (docs/spec/ticket.md, section 3): 32 bytes."""
        return hmac.digest(_hkdf(self.secret.reveal(), NODE_BYTES, "radiolabel/v1/ticket"), message, "sha256")


@dataclass(frozen=True)
class ValueKey:
    """What a court gets: one channel's value key and the epoch's selector key.

    Attributes:
        value: 16 bytes, scores (window, token) pairs.
        selector: 16 bytes, says which windows belong to the channel.
        path: such as `epoch/2026-q4/fleet`.
        deployment: scheme, width and shares it is for.
    """

    value: Secret
    selector: Secret
    path: str
    deployment: Deployment

    @property
    def channel(self) -> str:
        """`fleet`, `cohort` or `account`."""
        return self.path.split("/")[2]

    @property
    def id(self) -> str:
        """Public id, 64 hexadecimal digits; it binds both keys and all parameters."""
        return _hkdf(
            self.value.reveal() + self.selector.reveal(), ID_BYTES, *_id_parts(self.path, self.deployment)
        ).hex()


AnyKey = MasterKey | EpochKey | ValueKey | CoinKey | GatewayKey


def derive(
    key: AnyKey, path: str, *, deployment: Deployment | None = None, beacon: bytes = b""
) -> EpochKey | ValueKey | CoinKey | GatewayKey:
    """Walk a path such as `epoch/2026-q4/account/17` down from a master or epoch key.

    Args:
        key: where to start.
        path: the whole path, counted from the master.
        deployment: needed from a master key; an epoch key brings its own.
        beacon: see `MasterKey.epoch`.

    Raises:
        KeyFileError: a path of another form, or one that does not lie below `key`.
    """
    parts = path.split("/")
    if len(parts) not in (2, 3, 4) or parts[0] != "epoch" or "" in parts:
        raise KeyFileError(
            f"path {path[:60]!r} is not a key path",
            hint="use epoch/NAME and, after it, nothing, /fleet, /cohort/SLOT, /account/SLOT, /coin or /gateway",
        )
    if not isinstance(key, MasterKey | EpochKey):
        kind = {ValueKey: "value", CoinKey: "coin", GatewayKey: "gateway"}[type(key)]
        raise KeyFileError(f"nothing can be derived from the {kind} key {key.path}", hint="start from its epoch key")
    if isinstance(key, MasterKey):
        if deployment is None:
            raise TypeError("a master key needs a deployment to derive for")
        epoch = key.epoch(parts[1], deployment=deployment, beacon=beacon)
    elif parts[1] != key.name:
        raise KeyFileError(f"path {path[:60]!r} does not lie below {key.path}", hint="start from the master key")
    else:
        epoch = key
    if len(parts) == 2:
        return epoch
    if parts[2:] == ["coin"]:
        return epoch.coin_key()
    if parts[2:] == ["gateway"]:
        return epoch.gateway_key()
    return epoch.value_key(parts[2], parts[3] if len(parts) == 4 else "")
