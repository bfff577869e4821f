"""One provider for all attacks: an innocent model, a rival with that control, twins, and a policy."""

from __future__ import annotations

import json

import pytest

from tests.evidence.inventing import exploratory
from tests.evidence.lying import Liar
from tests.evidence_case import Case, Provider
from tests.tsa_server import Authority, TSAServer

RATE = {"hypothesis": "closed", "method": "one model and one key", "n_trials": 12, "n_accused": 0, "n_independent": 6,
        "alpha": 0.05, "low": 0.0, "high": 0.25, "source": "somewhere"}  # fmt: skip


@pytest.fixture(scope="session")
def provider(tmp_path_factory, small_tokenizer, tokenizer_file):
    """Committed keys; evidence innocent.json, rival.json, twin.json and loose.json; policy.json. The authority runs."""
    folder = tmp_path_factory.mktemp("provider")
    with pytest.MonkeyPatch.context() as patch, TSAServer(Authority(tmp_path_factory.mktemp("tsa"))) as tsa:
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.delenv("OPENAI_API_KEY", raising=False)
        made = Provider(folder, tsa, small_tokenizer, tokenizer_file)
        made.closed("innocent", marked=False)
        made.file("rate.json").write_text(json.dumps(RATE))
        control = ("--control", made.file("innocent.json"), "--rate", made.file("rate.json"))
        made.closed("rival", marked=True, evidence=control)
        made.pairs()
        made.twin("twin")
        exploratory(made, "loose")
        made.policy()
        yield made


@pytest.fixture(scope="session")
def rival(provider) -> Liar:
    """Evidence by the closed test on an endpoint that was trained on marked text."""
    return Liar.of(Case(provider.folder, "rival.json", "fleet.key"))


@pytest.fixture(scope="session")
def twin(provider) -> Liar:
    """Evidence by the twin test on open weights."""
    return Liar.of(Case(provider.folder, "twin.json", "coin.key"))


@pytest.fixture(scope="session")
def loose(provider) -> Liar:
    """Exploratory evidence: found texts, and no commitment of anything."""
    return Liar.of(Case(provider.folder, "loose.json", "fleet.key"))


@pytest.fixture(scope="session")
def accounts(provider) -> Liar:
    """Evidence on who was used: 12 accounts, of which four are a ring, and the groups of both."""
    provider.account_pairs()
    provider.accounts("accounts")
    return Liar.of(Case(provider.folder, "accounts.json", "coin.key"))
