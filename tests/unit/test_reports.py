"""Reports: what they say, what they never say, and that nothing in a file can make them say something else."""

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from math import floor, log10

import msgspec
import pytest

from tests import planning, reporting
from tests.tsa_server import Authority
from verify.canonical import digest
from verify.errors import Error, InputError, Refused
from verify.report import FORMATS, render
from verify.report.checks import Check
from verify.report.document import Figure, Table, plotted
from verify.report.source import read_source
from verify.report.view import view
from verify.report.words import called, exponent, level, one_in, percent, plain
from verify.steps import Step
from verify.timestamps import stated_time

CASES = reporting.cases()
VOID = {"meta", "br", "hr", "img", "input", "link", "path", "use", "rect", "stop"}
# A p-value is no probability of guilt, innocence or training, in whatever words.
FORBIDDEN = (
    r"(probabilit\w+|chances?|odds|likelihood)\s+(that|of)\s+(the |this |it |being |his |her )*"
    r"(suspect|model|guilt|innocen|train|distill|copied|cop(y|ies)|use|theft|stole|rival)",
    r"(probabl\w+|likely|certainly|undoubtedly|surely)\s+(was |is |did )*"
    r"(guilty|innocent|trained|distilled|copied|used|stolen)",
    r"\b\d[\d.,]*\s?%\s+(sure|certain|confiden\w+|likely|probab\w+)",
    r"\b(guilt\w*|culprit|thie(f|ves)|stole\w*|theft|exonerat\w+|acquit\w*|cleared)\b",
    r"beyond (a |any )?(reasonable )?doubt",
    r"\b(proves?|proven|proof|confirms?)\b.{0,40}\b(trained|distilled|copied|used)\b",
    r"\bp-values? (is|are|means?)\b",
    r"did not (train|use|copy|distill)|was not (trained|copied|distilled)|is (free|clean|innocent)\b",
    r"\b(confidence|certainty|sure)\b",
)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Every case in every format: {(case, format): text}."""
    folder, found = tmp_path_factory.mktemp("reports"), {}
    for name, predicate in {**CASES, "hostile": reporting.hostile()}.items():
        shown = view(read_source(str(reporting.write(predicate, folder / f"{name}.json"))))
        found |= {(name, form): render(shown, form) for form in FORMATS}
    return found


@pytest.fixture
def made(tmp_path):
    """A function from a predicate to its view."""

    def view_of(predicate, check=None):
        return view(read_source(str(reporting.write(predicate, tmp_path / "evidence.json"))), check)

    return view_of


class Page(HTMLParser):
    """A page's tags and text, and that every tag is closed where it should be."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.open, self.words, self.sections = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag == "section":
            self.sections.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "svg"} & set(self.open):
            self.words.append(data)
            if "section" in self.open:
                self.sections[-1] += data

    @property
    def text(self):
        return " ".join("".join(self.words).split())


def words(section):
    return " ".join(str(block) for block in section.blocks)


def first(shown, name):
    return words(next(section for section in shown.first if section.name == name))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", CASES)
def test_no_report_turns_the_number_round(rendered, name, form):
    text = rendered[name, form]
    text = Page(text).text if form == "html" else text.replace("\\", "")
    assert [found for pattern in FORBIDDEN if (found := re.search(pattern, text, re.IGNORECASE))] == []


@pytest.mark.parametrize(
    "sentence",
    [
        "the probability that the model was trained on it is 99 %",
        "the chance of innocence is 1 in 1,000",
        "the suspect was probably trained on the answers",
        "we are 99.9 % certain",
        "this proves that the answers were used",
        "the model did not use the answers",
        "odds that the suspect copied",
    ],
)
def test_the_forbidden_patterns_know_such_sentences(sentence):
    assert any(re.search(pattern, sentence, re.IGNORECASE) for pattern in FORBIDDEN)


@pytest.mark.parametrize("name", [*CASES, "hostile"])
def test_a_page_needs_nothing_from_outside_and_runs_nothing(rendered, name):
    text = rendered[name, "html"]
    page = Page(text)
    assert not {"script", "iframe", "object", "embed", "link", "img", "base", "form", "foreignobject"} & set(page.tags)
    for _, attribute, value in page.attributes:
        assert not attribute.startswith("on")
        if attribute in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            assert value.startswith(("#", "data:"))
    assert re.findall(r"url\(\s*['\"]?(?!#)", text) == []
    assert "@import" not in text
    anchors = {value for _, attribute, value in page.attributes if attribute == "id"}
    assert {value[1:] for _, attribute, value in page.attributes if attribute == "href"} <= anchors
    ids = [value for _, attribute, value in page.attributes if attribute == "id"]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", CASES)
def test_headings_go_down_by_one_and_every_picture_has_words(rendered, name):
    page = Page(rendered[name, "html"])
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    labels = [value for _, attribute, value in page.attributes if attribute == "aria-label"]
    assert len(labels) == page.tags.count("svg") > 0
    assert all(len(label) > 40 for label in labels)


@pytest.mark.parametrize("name", CASES)
def test_every_plotted_number_stands_in_the_json_and_in_a_table_of_the_page(rendered, made, name):
    shown = made(CASES[name])
    figures = [b for section in (*shown.accounts, *shown.rest) for b in section.blocks if isinstance(b, Figure)]
    said = json.loads(rendered[name, "json"])
    stored = [b["plot"] for s in said["accounts"] + said["rest"] for b in s["blocks"] if b["kind"] == "figure"]
    page, markdown = Page(rendered[name, "html"]).text, rendered[name, "md"]
    assert len(figures) == len(stored) > 0
    for figure, plot in zip(figures, stored, strict=True):
        for field in figure.plot.__struct_fields__:
            assert plot[field] == json.loads(msgspec.json.encode(getattr(figure.plot, field)))
        for row in plotted(figure.plot)[1]:
            assert all(cell in page for cell in row)
            assert all(cell in markdown for cell in row if cell.replace(",", "").replace(".", "").isdigit())


@pytest.mark.parametrize("form", FORMATS)
def test_what_was_not_planned_says_so_over_every_section(rendered, form):
    text = "Exploratory: no plan was committed before looking."
    exploratory, committed = rendered["closed-exploratory", form], rendered["closed-found", form]
    assert text not in committed
    if form == "html":
        page = Page(exploratory)
        assert len(page.sections) > 15
        assert all(text in section for section in page.sections)
        assert "<title>Exploratory: " in exploratory
    elif form == "md":
        parts = exploratory.split("\n## ")[:-1]
        assert all(part.rstrip().endswith(f"**{text}**") for part in parts)
        assert exploratory.startswith("# Exploratory: ")
    else:
        assert json.loads(exploratory)["banner"] == text


def test_an_exploratory_number_is_said_to_hold_only_for_a_single_look(made):
    assert "If this was the only look at the data, a model" in first(made(CASES["closed-exploratory"]), "answer")
    assert "only look" not in first(made(CASES["closed-found"]), "answer")


@pytest.mark.parametrize("name", [name for name in CASES if "found" in name or name == "closed-account"])
def test_a_found_mark_is_a_statement_about_models_that_never_saw_it(made, name):
    text = first(made(CASES[name]), "answer")
    assert re.search(r"[Aa] model that (never saw text made with this key|does not depend on which answer)", text)
    assert "with probability at most 10^-" in text
    assert "It does not weigh the other explanations below." in text


@pytest.mark.parametrize("name", [name for name in CASES if "missed" in name or "little" in name])
def test_not_found_is_no_acquittal_and_says_what_would_have_been_found(made, name):
    text = first(made(CASES[name]), "answer")
    assert "Not found does not mean that it is not there, and not that the answers were not used." in text
    assert "What would have been found: " in text
    assert "Yes" not in text


def test_the_number_of_an_answer_is_never_stronger_than_the_file_states(made):
    for name in ("closed-found", "twin-found", "sequential-found", "linear-found"):
        stated = CASES[name]["results"][0]["derived"]["log10_p_stated"]
        exponents = [float(x) for x in re.findall(r"10\^(-[0-9.]+)", first(made(CASES[name]), "answer"))]
        assert exponents
        assert all(stated <= x <= stated + 0.1 for x in exponents)


def test_several_keys_are_told_apart_and_the_corrected_number_comes_first(made):
    shown = made(CASES["many-keys"])
    text = first(shown, "answer")
    assert "Yes. The mark of 2 of 3 keys was found: “epoch/q4/fleet”, “epoch/q4/account/9”." in text
    assert "The mark of 1 key (“epoch/q4/account/7”) was not found" in text
    stated = [r["derived"]["log10_p_stated"] for r in CASES["many-keys"]["results"]]
    weakest = max(stated[0], stated[2])
    corrected = max(log10(5) + min(stated[0], stated[2]), log10(4) + weakest)  # Holm's, two of five tests named
    number = f"number corrected for all 5 tests of the family (Holm) is {exponent(corrected)} ("
    alone = (
        f"In one test taken alone, such a model would score this high with probability at most {exponent(weakest)} ("
    )
    assert exponent(corrected) != exponent(weakest)
    assert 0 < text.index(number) < text.index(alone)
    assert text.count("probability at most") == 1
    assert "The threshold for the corrected number was 1 in 1,000,000." in text
    causes = first(shown, "causes")
    assert "A key for all traffic was found" in causes
    assert "A key for one account was found" in causes
    assert "A key for all traffic" not in first(made(CASES["closed-account"]), "causes")


@pytest.mark.parametrize(("correction", "method"), [("bh", "Benjamini and Hochberg"), ("e-bh", "e-BH")])
def test_a_false_discovery_rate_is_not_called_a_chance(made, correction, method):
    plan = reporting.plan("closed", family={"tests": ["q4", "later"], "correction": correction})
    predicate = reporting.evidence(plan, [reporting.closed(60_000, 0.05)])
    text = first(made(predicate), "answer")
    number = exponent(predicate["decision"]["tests"][0]["log10_adjusted"])
    assert f"the number corrected for all 2 tests of the family ({method}) is {number}. It is a false discovery rate over the family, and not a chance" in text  # fmt: skip  # noqa: E501
    assert text.index(number) < text.index("In one test taken alone, a model that never saw text made with this key")


def test_the_corrected_number_keeps_the_ciphers_bound_of_every_test(made):
    plan = reporting.plan("closed", family={"tests": ["q4", "later", "last"], "correction": "holm"})
    predicate = reporting.evidence(plan, [reporting.closed(60_000, 0.2)])
    stated = predicate["results"][0]["derived"]["log10_p_stated"]
    assert predicate["decision"]["tests"][0]["log10_adjusted"] < stated - 10
    assert f"family (Holm) is {exponent(stated + log10(3))} (" in first(made(predicate), "answer")


def rated(**changed):
    """A case whose maker states a rate, at the plan's test and level unless that is changed."""
    return CASES["closed-account"] | {"rate": reporting.RATE | {"alpha": 1e-6} | changed}


def test_a_rate_is_the_makers_word_of_a_named_method(made):
    rate = first(made(rated()), "rate")
    assert (
        "As the maker states, of “closed test of innocent students, each under 20 keys” (“calibration.json, sha256:9"
    ) in rate
    assert "1 of 2,000 trials with innocent models, worth 400 independent ones" in rate
    assert "between 0.0013 % and 1.4 %" in rate
    assert "No step checks this." in rate
    assert "So few trials cannot confirm a rate as small as 1 in 1,000,000." in rate
    assert "says little here" not in rate
    assert "Measured" not in rate


def test_a_rate_of_another_test_or_level_says_little_here(made):
    test = "of another test (twin; this one is closed)"
    level_ = "at another level (1 in 1,000; this plan's is 1 in 1,000,000)"
    assert f"That is {test}, and says little here." in first(made(rated(hypothesis="twin")), "rate")
    assert f"That is {level_}, and says little here." in first(made(rated(alpha=1e-3)), "rate")
    both = first(made(rated(hypothesis="twin", alpha=1e-3)), "rate")
    assert f"That is {test} and {level_}, and says little here." in both


def test_without_a_rate_mathematics_stands_in_only_for_a_plan_that_was_shown_to_come_first(made):
    promise = "at most 1 in 1,000,000 innocent models would be called found"
    assert promise in first(made(CASES["closed-account"], checked()), "rate")
    for check in (None, checked(plan="not checked"), checked(before="not checked")):
        text = first(made(CASES["closed-account"], check), "rate")
        assert "No measured rate was given with this evidence. None follows from the mathematics of the test" in text
        assert "innocent models" not in text
    exploratory = first(made(CASES["closed-exploratory"], checked()), "rate")
    assert "nothing was fixed before looking" in exploratory
    assert "innocent models" not in exploratory


ASSERTED = "That nobody had looked before the plan was fixed is asserted, not shown."


@pytest.mark.parametrize("name", ["closed-account", "many-keys", "twin-found", "linear-found", "closed-little"])
def test_a_plan_that_was_not_shown_to_come_first_is_only_asserted(made, name):
    shown = first(made(CASES[name], checked()), "answer")
    assert ASSERTED not in shown
    assert "If nobody had looked" not in shown
    for check in (None, checked(plan="not checked"), checked(before="not checked")):
        text = first(made(CASES[name], check), "answer")
        assert ASSERTED in text
        assert "stated in the plan" not in text
        assert ("If nobody had looked before the plan was fixed, " in text) == (name != "closed-little")
    if name != "closed-little":
        assert ", stated in the plan, was 1 in 1,000,000." in shown


def served():
    """Evidence of a closed test that scores what was served."""
    fixed = {role: digest(role.encode()) for role in ("input", "served")}
    plan = reporting.plan("closed", inputs=fixed, test=reporting.CLOSED | {"served": True})
    closed = reporting.closed(60_000, 0.08)
    closed["n_dropped"]["not_served"] = closed["n_dropped"].pop("other_channel")
    closed["n_dropped"]["other_channel"] = 0
    return reporting.evidence(plan, [closed])


def test_what_rests_on_a_record_of_the_provider_is_no_plain_yes(made):
    for predicate, record in ((CASES["twin-found"], "pairs"), (served(), "served text")):
        whether = f"Yes, if the record of {record} is the one that was kept at the time; nothing here shows that."
        assert whether not in first(made(predicate, checked()), "answer")
        assert "'Yes. " in first(made(predicate, checked()), "answer").replace('"', "'")
        without = Check(tuple(s for s in checked().steps if not s[0].startswith("log.")), accepted=True)
        for check in (None, without, checked(**{"release.logs": "not checked"}), checked(**{"log.2": "not checked"})):
            text = first(made(predicate, check), "answer")
            assert whether in text
            assert "Yes. " not in text
    assert "Yes. The mark" in first(made(CASES["closed-account"]), "answer")  # rests on no record


def test_a_coin_decided_only_where_a_check_computed_it_again(made):
    says, plainly = "the provider says that a coin decided which was served", "two answers, and a coin decided"
    stated = CASES["twin-found"]
    again = reporting.plan("twin", test=planning.TESTS["twin"] | {"hypothesis": "twin", "coins": "recomputed"})
    recomputed = reporting.evidence(again, [reporting.twin(1_400, 1_000)], inputs=stated["inputs"])
    assert says in first(made(stated, checked()), "question")
    assert plainly in first(made(recomputed, checked()), "question")
    for check in (None, checked(measured="not checked"), checked(**{"slot.1": "not checked"})):
        assert says in first(made(recomputed, check), "question")
    later = reporting.evidence(reporting.plan("twin"), [reporting.twin(1_400, 1_000) | {"drawn": "later"}])
    later["inputs"] = stated["inputs"]
    assert "coin" not in first(made(later, checked()), "question")
    assert "drew another one later" in first(made(later, checked()), "question")


def test_found_is_dependence_and_a_service_can_pass_answers_on(made):
    assert "“Found” shows dependence on these tokens, by training or otherwise." in first(
        made(CASES["closed-account"]), "limits"
    )
    assert "passes on, stores or looks up the provider's answers" in first(made(CASES["closed-account"]), "causes")
    assert "passes on" in first(made(CASES["sequential-found"]), "causes")
    assert "passes on" not in first(made(CASES["linear-found"]), "causes")  # its weights are at hand


def test_controls_are_listed_with_what_they_gave(made):
    text = first(made(CASES["closed-found"]), "controls")
    assert "2 models that, as the maker of this file says, never saw marked text" in text
    assert "at the level of its own plan, which this file does not state" in text
    assert "“innocent one”: not found, 10^-0.4, “innocent two”: not found, 10^-0.4." in text
    bare = made(CASES["closed-account"])
    assert "None: this evidence holds no test of a model known to be innocent." in first(bare, "controls")
    accused = first(made(CASES["closed-missed"]), "controls")
    assert "An innocent model was called found as well." in accused
    assert "“also marked”: found, 10^-8.0." in accused


def test_neither_the_accused_nor_another_test_is_an_innocent_control(made):
    own, twin = reporting.other("rival", found=False), reporting.other("x", found=False) | {"hypothesis": "twin"}
    shown = made(CASES["closed-account"] | {"others": [own, twin]})
    text = first(shown, "controls")
    assert "None: this evidence" in text
    assert "Not counted: “rival” (it is of the suspect's own name), “x” (it is of another test)." in text
    (table,) = (b for s in shown.rest for b in s.blocks if isinstance(b, Table) and "Other models" in b.caption)
    assert [row[1] for row in table.rows] == [
        "not counted: it is of the suspect's own name",
        "not counted: it is of another test",
    ]
    labels = next(b for s in shown.rest for b in s.blocks if isinstance(b, Figure) and b.name == "others").plot.labels
    assert labels[1:] == ("“rival”, other", "“x”, other")


def test_tests_outside_the_family_are_told_with_what_they_gave(made):
    def outside(others, *, of="closed-account", **changed):
        text = first(made(CASES[of] | {"others": others} | changed), "answer")
        return text[text.index("other test") - 2 :] if "other test" in text else ""

    again = reporting.other("rival", found=False, control=False)
    assert outside([]) == ""
    assert (
        "1 other test on this suspect or under these keys is outside the family; nobody corrected for it. What came of "
        "it: “rival”: not found, 10^-0.4."
    ) in outside([again])
    assert "“rival”: found, 10^-8.0" in outside([reporting.other("rival", found=True)])  # called a control
    assert outside([reporting.other("someone", found=False, control=False)]) == ""  # no key in common is known
    plan, lines = reporting.plan("closed", keys=[reporting.SEVEN]), [digest(b"someone"), digest(b"no result")]
    keyed = reporting.register(plan, lines)
    assert "2 other tests on this suspect or under these keys are outside the family" in outside(
        [reporting.other("someone", found=True, control=False)], register=keyed
    )
    assert "“someone”: found, 10^-8.0, 1 without a result." in outside(
        [reporting.other("someone", found=True, control=False)], register=keyed
    )
    assert "What came of it: 1 without a result." in outside([reporting.other("someone", found=False)], register=keyed)
    # Of the family: corrected for. A test that is called like this plan's own is another one all the same.
    inside = again | {"tests": [again["tests"][0] | {"name": "later 1"}]}
    assert outside([inside], of="many-keys") == ""
    same = again | {"tests": [again["tests"][0] | {"name": "q4: epoch/q4/fleet"}]}
    assert outside([same], of="many-keys").startswith("1 other test")


def test_a_control_that_its_maker_does_not_call_innocent_is_none(made):
    predicate = CASES["closed-account"] | {"others": [reporting.other("some model", found=False, control=False)]}
    assert "None: this evidence" in first(made(predicate), "controls")


def test_plans_without_a_result_are_on_page_one_and_in_the_register(made):
    shown = made(CASES["closed-found"])
    said = (
        "Of 4 registered plans: 1 without a result here, for reasons that are asserted, not shown; 1 of which nothing "
        "is known, neither a result nor why there is none."
    )
    register = words(next(section for section in shown.rest if section.name == "register"))
    assert said in first(shown, "basis")
    assert said in register
    for fate in (
        "this evidence",
        f"evidence {CASES['closed-found']['others'][0]['file']}: 0 of 1 tests found",
        "no result here, as the maker states: the suspect's endpoint was closed",
        "NOT ACCOUNTED FOR",
    ):
        assert register.count(f"'{fate}'") + register.count(f'"{fate}"') == 1
    assert "There is no register of plans" in first(made(CASES["closed-account"]), "basis")


def test_a_plan_under_other_keys_is_counted_too(made):
    lines = CASES["closed-found"]["register"]
    foreign = [lines[0], *(line | {"keys": ["f" * 64]} for line in lines[1:])]
    shown = made(CASES["closed-found"] | {"register": foreign, "unrun": {}, "others": []})
    assert "Of 4 registered plans: 3 of which nothing is known" in first(shown, "basis")
    assert "outside the family" not in first(shown, "answer")
    rest = made(CASES["closed-found"] | {"register": foreign, "unrun": {line["plan"]: "rest" for line in lines[1:]}})
    assert "Of 4 registered plans: 2 without a result here" in first(rest, "basis")


SHOWN = ("plan", "before", "slot.1", "log.1", "log.2", "release.logs", "measured")


def checked(**outcomes):
    """A check whose steps are ok, but for those that are named."""
    steps = tuple((name, Step(name, outcomes.get(name, "ok"), "why")) for name in SHOWN)
    return Check(steps, accepted=True)


STEPS = (
    ("envelope", Step("one file", "ok", "100 bytes")),
    ("master.1", Step("stamped", "ok", "yes")),
    ("master.2", Step("before", "not checked", "no certificates")),
    ("measured", Step("computed again", "ok", "equal")),
)


def test_without_a_check_the_answer_says_so(made):
    shown = made(CASES["closed-found"])
    assert "As the evidence file states, which this report did not check: Yes" in first(shown, "answer")
    assert f"This report checked nothing. It shows what the file states. Made from the file evidence.json with SHA-256 {shown.source}" in first(shown, "basis")  # fmt: skip  # noqa: E501
    assert "This report checked nothing." in words(shown.rest[0])


def test_with_a_check_every_step_is_shown(made):
    shown = made(CASES["closed-found"], Check(STEPS, accepted=True))
    assert "did not check" not in first(shown, "answer")
    assert "Yes. The mark" in first(shown, "answer")
    assert "of 4 steps 3 ok, 0 failed, 1 not checked" in first(shown, "basis")
    causes = first(shown, "causes")
    assert "1 of 2 steps ok, the others not checked" in causes
    assert all(step.reason in words(shown.rest[0]) and name in words(shown.rest[0]) for name, step in STEPS)


def test_an_accepted_file_whose_numbers_were_not_computed_again_says_so(made):
    steps = (*STEPS[:-1], ("measured", Step("computed again", "not checked", "no inputs were given")))
    for name in ("closed-found", "closed-missed"):
        text = first(made(CASES[name], Check(steps, accepted=True)), "answer")
        assert "As the evidence file states, whose numbers this report did not compute again: " in text


def test_unaltered_inputs_do_not_count_as_answers_of_the_suspect(made):
    steps = (*STEPS, ("inputs", Step("digests", "ok", "2 files")))
    shown = made(CASES["closed-found"], Check(steps, accepted=True))
    (table,) = (b for s in shown.first for b in s.blocks if isinstance(b, Table))
    assert ("choose or invent the suspect's answers", "collection", "not checked") in table.rows


def test_filters_are_words_that_nobody_can_check(made):
    for check, said in ((None, "not checked"), (checked(), "2 of 2 steps ok"), (Check(STEPS, True), "not checked")):
        (table,) = (b for s in made(CASES["closed-found"], check).first for b in s.blocks if isinstance(b, Table))
        row = next(row for row in table.rows if row[0] == "choose options or filters")
        assert row[2] == f"{said}; options stand in the plan, filters are words that nobody can check"


@pytest.mark.parametrize("outcome", ["failed", "not checked"])
def test_a_file_that_is_not_accepted_gets_no_answer(made, outcome):
    steps = (*STEPS, ("decision", Step("the decision", outcome, "it differs")))
    shown = made(CASES["closed-found"], Check(steps, accepted=False))
    answer = first(shown, "answer")
    assert "No answer. The evidence file was not accepted" in answer
    assert "Yes" not in answer
    assert "10^" not in answer
    assert ("failed: decision" in answer) == (outcome == "failed")
    assert ("failed: decision" in first(shown, "causes")) == (outcome == "failed")
    assert "NOT accepted" in first(shown, "basis")


def changed(name, *path, value):
    """A case with one value exchanged."""
    predicate = json.loads(json.dumps(CASES[name]))
    inner = predicate
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return predicate


@pytest.mark.parametrize(
    ("predicate", "error", "message"),
    [
        (changed("closed-missed", "decision", "tests", 0, "found", value=True), Refused, "says otherwise at 1e-06"),
        (changed("closed-found", "decision", "tests", 0, "found", value=False), Refused, "says otherwise"),
        (changed("closed-missed", "results", 0, "derived", "found", value=True), Refused, "derived says found"),
        (changed("closed-found", "results", 0, "key", value="f" * 64), InputError, "results, expected one of each key"),
        (changed("closed-found", "decision", "tests", 0, "name", value="q5"), InputError, "expected the plan's own"),
        (changed("closed-found", "inputs", "tokenizer", value="answers.jsonl"), InputError, "every subject once"),
        (changed("closed-found", "results", 0, "derived", "log10_p", value=0.5), InputError, "log10_p"),
        (changed("closed-found", "results", 0, "derived", "guilt", value=1), InputError, "unknown field guilt"),
        (changed("linear-found", "results", 0, "derived", "z", value="9"), InputError, "z"),
        (changed("twin-found", "results", 0, "derived", "accounts", value=[]), InputError, "accounts, expected those"),
        (changed("twin-found", "plan", value=CASES["closed-found"]["plan"]), InputError, "expected"),
    ],
)  # fmt: skip
def test_a_file_whose_parts_contradict_each_other_gets_no_report(made, predicate, error, message):
    with pytest.raises(error) as raised:
        made(predicate)
    assert message in str(raised.value)


def test_rounding_of_the_last_decimal_is_no_contradiction(made):
    predicate = changed("closed-found", "decision", "tests", 0, "log10_adjusted", value=-5.999999)
    assert "Yes" in first(made(predicate), "answer")


def leaves(value, path=()):
    """Paths of all values that hold no other."""
    if isinstance(value, dict | list) and value:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value[:3]):
            yield from leaves(inner, (*path, key))
    yield path


@pytest.mark.parametrize("name", ["many-keys", "linear-found", "twin-found", "sequential-found"])
def test_whatever_stands_in_a_file_it_is_shown_or_refused(made, name):
    junk = [None, [], {}, "", "x" * 3000, 0, -1, 2**53 - 1, 1e300, -1e11, True, "9" * 60, [[1, 2, "3"]], "\ud7ff\x00"]
    shown = refused = 0
    for number, path in enumerate(leaves(CASES[name])):
        if not path:
            continue
        for value in (junk[number % len(junk)], junk[(number * 5 + 3) % len(junk)]):
            try:
                made(changed(name, *path, value=value))
                shown += 1
            except Error:
                refused += 1
    assert shown > 5
    assert refused > 20


def test_empty_lists_are_shown_as_none(made):
    bare = CASES["closed-account"] | {"citations": [], "software": {}, "register": [], "others": []}
    shown = made(bare)
    page = Page(render(shown, "html")).text
    assert "none stated" in page
    assert "| none |" in render(shown, "md")


def test_hostile_strings_stay_strings(rendered):
    html, markdown = rendered["hostile", "html"], rendered["hostile", "md"]
    page = Page(html)
    assert "<script>alert(1)</script>" in page.text
    assert "<script" not in html
    for text in (html, markdown, rendered["hostile", "json"]):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u200b]", text)
    assert "\u2068שלום <b>\u2069" in page.text  # right-to-left letters are isolated
    # No unescaped sign of Markdown or HTML, and no line that a name has begun.
    assert not re.search(r"(?<!\\)(<|!\[)", "\n".join(line for line in markdown.splitlines() if line[:2] != "> "))
    assert not re.search(r"(?<!\\)<", markdown)
    assert not re.search(r"^(# heading|- item)", markdown, re.MULTILINE)
    assert all(line.startswith(("# ", "## ", "### ")) for line in markdown.splitlines() if line.startswith("#"))
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert all("$\\frac" not in row for row in rows)
    assert json.loads(rendered["hostile", "json"])["source"]


def test_a_name_cannot_close_its_quotation_marks():
    assert called("a” was guilty “b") == '“a" was guilty "b”'
    assert called("n" * 300 + "/7") == "“" + "n" * 23 + "…" + "n" * 22 + "/7”"
    assert plain("a\u202eb\x1b") == "a\\u202eb\\x1b"


def test_probabilities_in_words_are_never_smaller_than_the_number():
    for log in (-0.5, -1.0, -1.3, -2.0, -2.999999, -3.0, -5.7, -6.0, -12.34, -14.999, -15.0, -26.942644, -1000.5):
        text = one_in(log)
        if " in 10^" in text:
            assert -int(text.split("^")[1]) >= log
        else:
            cases, n = (int(x.replace(",", "")) for x in text.split(" in "))
            assert log10(cases / n) >= log - 1e-9
            assert log10(cases / n) <= log + 0.31
        rounded = exponent(log)
        assert float(rounded.removeprefix("10^")) >= log - 1e-9
    assert one_in(-6.0) == "1 in 1,000,000"
    assert one_in(0.0) == "100 in 100"
    assert exponent(-0.0) == "1"
    assert (level(1e-6), level(0.05), level(0.3)) == ("1 in 1,000,000", "1 in 20", "0.3")
    assert percent(0.0139) == "1.4 %"
    assert floor(-one_in_exponent(-20.99)) == 20


def one_in_exponent(log):
    return -float(one_in(log).split("^")[1])


def test_a_curve_ends_with_the_number_that_decides(made):
    for name, number in (("closed-found", "log10_p"), ("sequential-found", "log10_e"), ("twin-found", "log10_p_sign")):
        shown = made(CASES[name])
        figure = next(b for s in shown.rest for b in s.blocks if isinstance(b, Figure) and b.name == "growth")
        stated = CASES[name]["results"][0]["derived"][number]
        assert figure.plot.y[-1] == pytest.approx(stated, abs=2e-6)
        assert figure.plot.above == (number == "log10_e")


def test_a_table_of_drawn_numbers_keeps_their_digits(made):
    for name in CASES:
        for block in (b for s in made(CASES[name]).rest for b in s.blocks):
            if isinstance(block, Figure) and block.name in ("growth", "effect"):
                values = block.plot.y if block.name == "growth" else block.plot.values
                assert [float(row[1]) for row in plotted(block.plot)[1]] == pytest.approx(list(values), rel=1e-5)


def test_drops_and_scored_tokens_add_up_in_the_table(made):
    shown = made(CASES["closed-found"])
    tables = {b.caption: b for s in shown.rest for b in s.blocks if isinstance(b, Table)}
    rows = dict(tables["What was not scored, by reason"].rows)
    assert rows["together"] == f"{CASES['closed-found']['results'][0]['measured']['n_seen']:,}"
    assert rows["copied_from_prompt"] == "120"


def test_the_true_key_is_drawn_where_its_score_lies(made):
    shown = made(CASES["closed-found"])
    figure = next(b for s in shown.rest for b in s.blocks if isinstance(b, Figure) and b.name == "decoys")
    assert figure.plot.mark == pytest.approx(0.045 * 60_000**0.5, rel=1e-4)  # the variance is 1
    assert sum(figure.plot.counts) == 100_000
    assert "in place 1 of 100,001" in figure.caption


def test_pictures_are_the_same_bytes_in_every_process(rendered, tmp_path):
    code = (
        "import sys; from verify.report import render; from verify.report.source import read_source\n"
        "from verify.report.view import view\n"
        "sys.stdout.write(render(view(read_source(sys.argv[1])), 'html'))"
    )
    path = reporting.write(CASES["closed-found"], tmp_path / "closed-found.json")
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True, check=True, env=os.environ | {"PYTHONHASHSEED": "7", "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert done.stdout.decode() == rendered["closed-found", "html"]
    assert not re.search(r"<dc:date>|20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d", rendered["closed-found", "html"])


def test_markdown_and_json_load_neither_matplotlib_nor_jinja(tmp_path):
    code = (
        "import sys; from verify.report import render; from verify.report.source import read_source\n"
        "from verify.report.view import view; v = view(read_source(sys.argv[1])); render(v, 'md'); render(v, 'json')\n"
        "print(sorted({'matplotlib', 'jinja2'} & set(sys.modules)))"
    )
    path = reporting.write(CASES["twin-missed"], tmp_path / "e.json")
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_time_of_a_token_is_read_without_trusting_it(tmp_path, made):
    folder = tmp_path / "tsa"
    folder.mkdir()
    plan = reporting.plan("closed", committed=False)
    token = Authority(folder).token(plan.body())
    stamped = plan.stamped(token)
    shown = made(reporting.evidence(stamped, [reporting.closed(40_000, 0.06)]))
    assert f"{stated_time(token):%Y-%m-%dT%H:%M:%SZ}" in words(next(s for s in shown.rest if s.name == "plan"))
    with pytest.raises(InputError, match="not a timestamp"):
        stated_time(token[:-10])
    with pytest.raises(InputError, match="not a timestamp"):
        stated_time(b"This is no token.")


@pytest.fixture(scope="module")
def chromium():
    """Run a headless browser; a machine without one skips, unless it is continuous integration."""
    found = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
    tools = found and shutil.which("pdftotext")
    if not tools:
        if "CI" in os.environ:
            pytest.fail("no chromium with pdftotext")
        pytest.skip("no chromium with pdftotext")

    def run(folder, *arguments):
        flags = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}")
        command = [found, *flags, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, cwd=folder).stdout

    return run


@pytest.mark.parametrize("name", ["closed-found", "many-keys", "closed-exploratory", "closed-little", "hostile"])
def test_on_paper_page_one_holds_question_and_answer_whole(chromium, rendered, tmp_path, name):
    (tmp_path / "report.html").write_text(rendered[name, "html"])
    pdf = tmp_path / "report.pdf"
    chromium(tmp_path, f"--print-to-pdf={pdf}", "--no-pdf-header-footer", (tmp_path / "report.html").as_uri())
    pages = subprocess.run(["pdftotext", "-layout", pdf, "-"], capture_output=True, text=True, check=True).stdout.split(
        "\f"
    )
    assert len(pages) > 3
    one = " ".join(pages[0].split())
    for heading in ("The question", "The answer", "How often this method", "Limits", "What was checked"):
        assert heading in one
    assert "For experts" not in one
    assert pages[1].split("\n")[0].strip() == "For experts"


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("correction", ["holm", "e-bh"])
def test_the_fullest_page_one_fits_too(chromium, made, tmp_path, committed, correction):
    long = "w" * 200
    keys = [{"id": f"{i:064x}", "path": f"epoch/{'e' * 60}/account/{i}"} for i in range(40)]
    texts = {"kind": "texts", "name": long, "origin": long}
    plan = reporting.plan(
        "closed", committed=committed, name="n", keys=keys, suspect=texts,
        inputs={role: digest(role.encode()) for role in ("input", "served")},
        test=reporting.CLOSED | {"served": True},
        family={"tests": [f"n: {key['path']}" for key in keys], "correction": correction},
    )  # fmt: skip
    measured = [reporting.closed(40_000, 0.08 if i % 2 else 0.001) for i in range(40)]
    for one in measured:
        one["n_dropped"]["not_served"] = one["n_dropped"].pop("other_channel")
    others = [reporting.other(f"{i:02} {long}"[:200], found=i < 20) for i in range(40)]
    foreign = [other | {"hypothesis": "twin"} for other in others[20:]]
    again = [reporting.other(f"again {i}", found=True) | {"suspect": long} for i in range(5)]
    rate = reporting.RATE | {"method": long * 5, "source": long * 5, "hypothesis": "closed-reference"}
    lines = reporting.register(plan, [digest(b"one"), digest(b"two"), *(other["plan"] for other in others)])
    predicate = reporting.evidence(
        plan, measured, others=others[:20] + foreign + again, rate=rate, register=lines,
        unrun={digest(b"one"): long}, inputs={role: f"{role}.jsonl" for role in ("input", "served", "tokenizer")},
    )  # fmt: skip
    steps = tuple((name, step) for name, step in checked(before="not checked").steps if name != "measured")
    shown = made(predicate, Check(steps, accepted=True))
    (tmp_path / "report.html").write_text(render(shown, "html"))
    pdf = tmp_path / "report.pdf"
    chromium(tmp_path, f"--print-to-pdf={pdf}", "--no-pdf-header-footer", (tmp_path / "report.html").as_uri())
    pages = subprocess.run(["pdftotext", "-layout", pdf, "-"], capture_output=True, text=True, check=True).stdout.split(
        "\f"
    )
    assert "What was checked" in pages[0]
    assert pages[1].split("\n")[0].strip() == "For experts"


@pytest.mark.parametrize("name", [*CASES, "hostile"])
def test_on_a_phone_the_page_does_not_scroll_sideways(chromium, rendered, tmp_path, name):
    # The report runs no script: a page around it measures it in a frame as wide as a phone.
    embedded = json.dumps(rendered[name, "html"]).replace("</", "<\\/")
    (tmp_path / "frame.html").write_text(
        '<iframe id="f" style="border:0;width:390px;height:800px"></iframe><pre id="out"></pre><script>'
        f"f.srcdoc = {embedded};"
        "f.onload = () => { const d = f.contentDocument.documentElement;"
        "out.textContent = `measured ${d.clientWidth} ${d.scrollWidth} ${d.scrollHeight} end` }</script>"
    )
    dom = chromium(tmp_path, "--dump-dom", "--virtual-time-budget=5000", (tmp_path / "frame.html").as_uri())
    client, scroll, height = map(int, re.search(r"measured (\d+) (\d+) (\d+) end", dom).groups())
    assert 370 <= client <= 390
    assert scroll <= client
    assert height > 3000
