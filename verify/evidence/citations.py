"""Sources of exactly the methods that a result used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from verify.measured import Measured, MeasuredAccounts, MeasuredClosed, MeasuredForm, MeasuredTwin
from verify.plans import Plan

_SCHEMES: Final = {
    "gumbel": "Aaronson 2022, My AI safety lecture for UT Effective Altruism (Gumbel sampling); Fernandez et al. 2023, "
    "arXiv 2308.00113, eq. 5 (score)",
    "tournament": "Dathathri et al. 2024, Nature 634, 818 (tournament sampling)",
    "greenlist": "Kirchenbauer et al. 2023, arXiv 2301.10226 (green list)",
}
_TEXTS: Final = {
    "prf": "NIST FIPS 197 (AES); Krawczyk and Eronen 2010, RFC 5869 (HKDF)",
    "radioactive": "Sander et al. 2024, arXiv 2402.14904 (watermarks of a teacher in its student)",
    "ville": "Ville 1939, Etude critique de la notion de collectif; Ramdas, Grunwald, Vovk and Shafer 2023, Statist. "
    "Sci. 38, 576 (e-values)",
    "decoys": "Barnard 1963, J. R. Stat. Soc. B 25, 294; Phipson and Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9 "
    "(Monte Carlo tests)",
    "chernoff": "Chernoff 1952, Ann. Math. Statist. 23, 493 (bound)",
    "saddle": "Daniels 1954, Ann. Math. Statist. 25, 631; Robinson 1982, J. R. Stat. Soc. B 44, 91 (estimate)",
    "twin": "Rastogi et al. 2025, arXiv 2504.13416 (STAMP, paired test of membership)",
    "wilcoxon": "Wilcoxon 1945, Biometrics Bull. 1, 80 (signed ranks)",
    "wilson": "Wilson 1927, J. Am. Stat. Assoc. 22, 209 (interval of a proportion)",
    "ngram": "Popovic 2015, WMT (chrF)",
    "subsequence": "Lin 2004, ACL workshop on text summarization (ROUGE-L)",
    "holm": "Holm 1979, Scand. J. Statist. 6, 65",
    "bh": "Benjamini and Hochberg 1995, J. R. Stat. Soc. B 57, 289",
    "e-bh": "Wang and Ramdas 2022, J. R. Stat. Soc. B 84, 822",
    "mean-e": "Vovk and Wang 2021, Ann. Statist. 49, 1736 (means of e-values)",
    "closing": "Simes 1986, Biometrika 73, 751; Goeman, Meijer, Krebs and Solari 2019, Biometrika 106, 841 "
    "(at least so many of a group)",
    "timestamp": "Adams et al. 2001, RFC 3161 (timestamps)",
    "merkle": "Laurie et al. 2013, RFC 6962 (Merkle trees)",
    "json": "Rundgren et al. 2020, RFC 8785 (canonical JSON)",
    "dsse": "in-toto Attestation Framework, Statement v1, and DSSE v1; Josefsson and Liusvaara 2017, RFC 8032 "
    "(Ed25519)",
}


def citations(plan: Plan, measured: Iterable[Measured]) -> tuple[str, ...]:
    """Of a plan's results, in a fixed order."""
    used = {"radioactive", "json", "dsse", "ville"} | {plan.family.correction}
    for m in measured:
        if isinstance(m, MeasuredAccounts):
            used |= {"twin", "wilson", getattr(plan.test, "scores", ""), "holm", "mean-e"}
            used |= {"closing"} if m.groups else set()
            used |= {"e-bh"} if getattr(plan.test, "fdr", "none") != "none" else set()
        elif isinstance(m, MeasuredTwin):
            used |= {"twin", "wilson", getattr(plan.test, "scores", "")} | ({"wilcoxon"} if m.alone else set())
        else:
            used.add("prf")
        if isinstance(m, MeasuredClosed) and m.decoys:
            used.add("decoys")
        if isinstance(m, MeasuredForm):
            used |= {"chernoff"} | (set() if m.served else {"saddle"})
    used |= {"timestamp", "merkle"} if plan.timestamps else set()
    marked = () if plan.paired else (_SCHEMES[plan.scheme.partition(":")[0]],)
    return (*marked, *(text for name, text in _TEXTS.items() if name in used))
