"""What a deployment is if nobody says otherwise, in the words of the command line."""

from typing import Final

SCHEME: Final = "gumbel"
WIDTH: Final = 2
# A quarter of the windows is drawn fresh in every response, so that the same prompt gets different answers.
SHARES: Final = "fleet=0.75,leaf=0.25"
