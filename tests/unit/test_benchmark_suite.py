"""The benchmarks' suite: it runs, is resumed, never loses a result, and its report shows what the results have."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest

from benchmarks.report import pages
from benchmarks.report.blocks import Results
from benchmarks.report.charts import Chart
from benchmarks.suite import edits, intervals, results
from benchmarks.suite.benchmark import PROFILES, benchmarks
from benchmarks.suite.cases import calibration
from benchmarks.suite.context import Context
from benchmarks.suite.documents import cut
from benchmarks.suite.machine import ROOT
from benchmarks.suite.running import listing, perform

SMOKE = ("calibration", "calibration-tests", "text-to-verdict")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A work folder of this run alone."""
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "WORK", folder)
        yield folder


@pytest.fixture(scope="module")
def smoke(work):
    """The results of a smoke run."""
    chosen = [benchmarks()[name] for name in SMOKE]
    assert perform(chosen, "smoke", pythons={}, jobs=1, model="smollm2", folder=None) == 0
    return work / "smoke" / "results"


def floats(record):
    """Every number of a JSON record, those in names of fields included."""
    if isinstance(record, dict):
        for name, value in record.items():
            if re.fullmatch(r"-?[0-9.]+", name):
                yield float(name)
            yield from floats(value)
    elif isinstance(record, list):
        for value in record:
            yield from floats(value)
    elif isinstance(record, int | float):
        yield float(record)


def charts(folder):
    found = pages.parts(Results(results.read_all(folder)))
    return [block for part in found for block in part.blocks if isinstance(block, Chart)]


class Page(HTMLParser):
    """Elements, attributes and the values of `data` elements of a page."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.values, self.ids = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.elements.append((tag, named))
        if tag == "data":
            self.values.append(float(named["value"]))
        if "id" in named:
            self.ids.append(named["id"])


def test_every_benchmark_says_what_it_is():
    found = benchmarks()
    assert len(found) > 10
    for name, benchmark in found.items():
        assert re.fullmatch(r"[a-z-]+", name)
        assert set(benchmark.NEEDS.minutes) <= set(PROFILES)
        assert benchmark.NEEDS.minutes
        assert benchmark.ABOUT in listing()


def test_the_quick_profile_is_stated_to_take_less_than_ten_minutes():
    assert sum(b.NEEDS.minutes.get("quick", 0) for b in benchmarks().values()) <= 10


def test_a_smoke_run_states_how_it_was_made(smoke):
    for name in SMOKE:
        record = json.loads((smoke / f"{name}.json").read_text())
        assert record["format"] == results.FORMAT
        about = record["about"]
        assert about["profile"] == "smoke"
        assert {"processor", "cores", "memory_gb"} <= set(about["machine"])
        assert {"python", "numpy", "radiolabel"} <= set(about["versions"])
        assert "seed" in json.dumps(record["numbers"]) or name == "text-to-verdict"


def test_rates_hold_in_the_smoke_run(smoke):
    rows = [r for name in SMOKE[:2] for r in json.loads((smoke / f"{name}.json").read_text())["numbers"]["rows"]]
    assert len(rows) > 20
    assert all(level["holds"] for row in rows for level in row["levels"])
    # Nor are the tests dead: one in ten innocents is called at about one in ten.
    tenth = [level for row in rows for level in row["levels"] if level["nominal"] == 10**-0.75 and level["n"] >= 200]
    assert np.mean([level["share"] for level in tenth]) > 0.05


def test_a_rate_that_is_too_large_is_seen():
    fair = np.log10((np.arange(100_000) + 0.5) / 100_000)
    assert all(level["holds"] for level in calibration.observed(fair))
    assert not all(level["holds"] for level in calibration.observed(fair - 0.1))


def test_the_page_opens_offline(smoke, tmp_path):
    (file,) = pages.write(smoke, html=tmp_path / "report.html", markdown=None)
    text = file.read_text()
    found = Page(text)
    assert not {tag for tag, _ in found.elements} & {"script", "link", "img", "iframe", "object", "embed", "base"}
    for _, named in found.elements:
        for name, value in named.items():
            assert not name.startswith("on")
            if name in ("src", "href", "action", "data", "xlink:href", "poster"):
                assert value.startswith("#")
    assert len(found.ids) == len(set(found.ids))
    # Names of SVG's and HTML's own vocabularies are no addresses that a browser asks.
    addresses = set(re.findall(r"[a-z]+://[^\"'\s<)]+", text)) - {"http://www.w3.org/2000/svg"}
    assert addresses == set()
    assert not re.search(r"url\((?!#)|@import", text)
    assert "<svg" in text


def test_every_number_drawn_is_in_the_page_and_in_the_result_files(smoke, tmp_path):
    shown = charts(smoke)
    assert len(shown) >= 4
    for chart in shown:
        known = {x for name in chart.results for x in floats(json.loads((smoke / f"{name}.json").read_text()))}
        drawn = list(chart.numbers())
        assert drawn
        assert set(drawn) <= known, chart.name
    (file,) = pages.write(smoke, html=tmp_path / "report.html", markdown=None)
    assert Page(file.read_text()).values == [x for chart in shown for x in chart.numbers()]


def test_committed_results_make_a_report_of_their_numbers_alone():
    """As the smoke run's, with whatever the repository has: every picture of every benchmark that was run in full."""
    folder = results.COMMITTED
    files = {**{f"own/{f.stem.replace('_', '-')}": f for f in folder.glob("*.json")}}
    files |= {f.stem: f for f in (folder / "suite").glob("*.json")}
    for chart in charts(folder):
        known = {
            x
            for name in chart.results
            for x in floats(json.loads((files.get(name) or files[f"own/{name}"]).read_text()))
        }
        assert set(chart.numbers()) <= known, chart.name
    assert "Can it be trusted?" in pages.page(pages.parts(Results(results.read_all(folder))))


def test_the_picture_has_every_point(smoke):
    """What the SVG draws: as many markers as points that the axes have a place for."""
    from benchmarks.report.drawing import svg

    chart = next(c for c in charts(smoke) if c.name == "qq-pooled")
    shown = [sum(x > 0 and y > 0 for x, y in zip(s.x, s.y, strict=True)) for s in chart.series]
    markers = Counter(re.findall(r"<use [^>]*href=\"(#f[0-9]+-m[0-9a-f]+)\"", svg(chart, 1)))
    in_the_legend = 1
    assert sum(shown) > 10
    assert not Counter(points + in_the_legend for points in shown) - Counter(markers.values())


def test_the_summary_is_markdown_of_the_same_parts(smoke, tmp_path):
    _, file = pages.write(smoke, html=tmp_path / "a.html", markdown=tmp_path / "a.md")
    text = file.read_text()
    for part in pages.parts(Results(results.read_all(smoke))):
        assert f"## {part.question}" in text
    assert "<" not in text


def test_what_was_not_run_is_said(tmp_path):
    (file,) = pages.write(tmp_path, html=tmp_path / "report.html", markdown=None)
    text = file.read_text()
    for name in ("calibration", "power", "robustness", "peers"):
        assert f"python -m benchmarks run {name}" in text


def test_a_finished_benchmark_is_not_run_again(smoke, work):
    file = smoke / "calibration.json"
    before = file.read_bytes()
    assert perform([benchmarks()["calibration"]], "smoke", pythons={}, jobs=1, model="m", folder=None) == 0
    assert file.read_bytes() == before


def test_a_full_result_is_never_lost_to_a_shorter_run(tmp_path):
    results.write(tmp_path, "a", {"x": 1}, {"profile": "full"})
    for profile in ("smoke", "quick"):
        with pytest.raises(results.WouldLose, match="full"):
            results.write(tmp_path, "a", {"x": 2}, {"profile": profile})
    assert results.read_all(tmp_path)["a"].numbers == {"x": 1}
    assert results.folder_of("quick") != results.folder_of("full")


def test_units_are_resumed_one_by_one(tmp_path):
    context = Context(folder=tmp_path, shared=tmp_path)
    done, interruptions = [], [3]

    def work(unit):
        if unit["i"] in interruptions:
            raise KeyboardInterrupt(interruptions.pop())
        done.append(unit["i"])
        return {"twice": 2 * unit["i"]}

    units = [{"i": i} for i in range(6)]
    with pytest.raises(KeyboardInterrupt):
        context.each(units, work)
    assert done == [0, 1, 2]
    assert context.each(units, work) == [{"i": i, "twice": 2 * i} for i in range(6)]
    assert done == [0, 1, 2, 3, 4, 5]


KILLED = """
import sys, time
from pathlib import Path
from benchmarks.suite.context import Context
folder = Path(sys.argv[1])
def work(unit):
    with open(folder / "log", "a") as log:
        log.write(f"{unit['i']}\\n")
    time.sleep(0.05)
    return {"value": unit["i"] ** 2}
rows = Context(folder=folder, shared=folder).each([{"i": i} for i in range(20)], work)
print(sum(row["value"] for row in rows))
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not ((tmp_path / "log").exists() and len((tmp_path / "log").read_text().split()) >= 4):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert int(again.stdout) == sum(i**2 for i in range(20))
    started = list(map(int, (tmp_path / "log").read_text().split()))
    assert len(started) <= 21, "only the unit that was killed is done twice"
    assert sorted(set(started)) == list(range(20))


def test_the_command_line_lists_and_refuses():
    def run(*arguments):
        return subprocess.run([sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True,
                              text=True, check=False)  # fmt: skip

    listed = run("list")
    assert listed.returncode == 0
    assert "calibration" in listed.stdout
    unknown = run("run", "calibrations")
    assert unknown.returncode == 2
    assert "calibrations" in unknown.stderr


@pytest.mark.parametrize(("count", "n"), [(0, 10), (3, 10), (10, 10), (1, 1_000_000)])
def test_shares_have_exact_intervals(count, n):
    from scipy.stats import binomtest

    found, expected = intervals.share(count, n), binomtest(count, n).proportion_ci(0.95)
    assert math.isclose(found["low"], expected.low, abs_tol=1e-9)
    assert math.isclose(found["high"], expected.high, rel_tol=1e-6)


def test_documents_are_disjoint_and_of_one_length():
    answers = [
        np.arange(7, dtype=np.uint32),
        np.arange(100, 104, dtype=np.uint32),
        np.arange(200, 213, dtype=np.uint32),
    ]
    documents = list(cut(answers, 10))
    assert [sum(map(len, d)) for d in documents] == [10, 10]
    assert np.concatenate([p for d in documents for p in d]).tolist() == np.concatenate(answers)[:20].tolist()
    assert all((np.diff(piece.astype(int)) == 1).all() for d in documents for piece in d), "no piece spans two answers"


TEXT = "It was late, and the keeper of the lighthouse\nfound a letter in the sand. " * 40
LEXICON = edits.Lexicon(words=["alpha", "beta"], nearest={"keeper": "guard", "letter": "note"})


@pytest.mark.parametrize("name", edits.BY_SHARE)
def test_edits_are_seeded_and_as_strong_as_asked(name):
    edit = edits.BY_SHARE[name]
    assert edit(TEXT, 0.0, np.random.default_rng(1), LEXICON) == TEXT
    a, b, other = (edit(TEXT, 0.3, np.random.default_rng(seed), LEXICON) for seed in (1, 1, 2))
    assert a == b
    if name != "dictionary":  # which has one dictionary for all texts
        assert a != other != TEXT


def test_about_the_asked_share_of_words_is_replaced():
    before = TEXT.split()
    after = edits.replace(TEXT, 0.3, np.random.default_rng(1), LEXICON).split()
    changed = sum(x != y for x, y in zip(before, after, strict=True)) / len(before)
    assert abs(changed - 0.3) < 0.06
    pairs = edits.swap_pairs(TEXT, 1.0, np.random.default_rng(1), LEXICON).split()
    assert pairs[::2] == before[1::2]
    assert pairs[1::2] == before[::2]
    kept = edits.delete(TEXT, 0.3, np.random.default_rng(1), LEXICON).split()
    assert abs(1 - len(kept) / len(before) - 0.3) < 0.06
