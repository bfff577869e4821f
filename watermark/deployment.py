"""What is public about a deployment: scheme, width and channel shares."""

from __future__ import annotations

from dataclasses import dataclass

from watermark.channels import Shares
from watermark.defaults import SCHEME, SHARES, WIDTH
from watermark.errors import KeyFileError
from watermark.prf import MAX_WIDTH
from watermark.schemes import Scheme, parse


@dataclass(frozen=True)
class Deployment:
    """How one epoch marks.

    Attributes:
        scheme: tilt, score and null law.
        width: h, 1 to 3; one per deployment.
        shares: how windows are split among the channels.
    """

    scheme: Scheme
    width: int
    shares: Shares

    def __post_init__(self) -> None:
        if isinstance(self.width, bool) or not isinstance(self.width, int) or not 1 <= self.width <= MAX_WIDTH:
            raise KeyFileError(f"width {str(self.width)[:20]} is not a whole number in 1..{MAX_WIDTH}")

    @classmethod
    def parse(cls, *, scheme: str = SCHEME, width: int = WIDTH, shares: str = SHARES) -> Deployment:
        """Build from the strings a person writes."""
        return cls(scheme=parse(scheme), width=width, shares=Shares.parse(shares))
