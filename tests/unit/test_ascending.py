"""Lines in ascending order, in bounded memory."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.ascending import ascending


@given(st.lists(st.binary(max_size=9).map(lambda x: x.replace(b"\n", b"") + b"\n")), st.integers(1, 99))
def test_the_order_is_that_of_all_lines_however_few_fit_in_memory(lines, at_once):
    assert list(ascending(lines, ".", at_once=at_once)) == sorted(lines)


def test_what_waits_has_no_name_and_is_where_the_output_is(tmp_path, monkeypatch):
    folders = []
    taken = ascending.__globals__["tempfile"].TemporaryFile
    monkeypatch.setattr("tempfile.TemporaryFile", lambda dir: folders.append(dir) or taken(dir=dir))
    found = ascending((b"%03d\n" % (i * 7 % 100) for i in range(100)), str(tmp_path), at_once=40)
    first = next(found)
    assert (first, os.listdir(tmp_path), folders) == (b"000\n", [], [str(tmp_path)] * 10)
    assert len(list(found)) == 99


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OSError, match="none"):
        list(ascending([b"a\n"], str(tmp_path / "none"), at_once=1))
