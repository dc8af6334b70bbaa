"""Tables that spreadsheets open, names that are no text, and whatever style of matplotlib's the caller has chosen."""

import os
import subprocess
import sys

import matplotlib
import pytest

from seedbed.report.document import compose
from seedbed.report.figures import STYLE, house_style
from seedbed.report.files import write_report
from seedbed.report.stored import StoredRun
from seedbed.report.tables import Table, save_text


def test_words_in_a_table_are_no_formulas():
    row = {"=head": "=1+1", "b": "-3.5", "c": -2.5, "d": "@sum", "e": "+x", "f": "\tx", "g": "plain"}
    text = Table("t", "", ["a"], [["a"]], [row]).csv()
    assert text == "'=head,b,c,d,e,f,g\n'=1+1,-3.5,-2.5,'@sum,'+x,'\tx,plain\n"


def test_a_name_that_is_no_text_is_written_as_an_escape(tmp_path):
    save_text(tmp_path / "x.md", "caf\udce9")
    assert (tmp_path / "x.md").read_text(encoding="utf-8") == r"caf\udce9"


@pytest.mark.parametrize("changed", [{"text.usetex": True}, {"figure.facecolor": "black"}, {"font.size": 40}])
def test_the_callers_style_is_neither_used_nor_changed(changed):
    with house_style():
        before = dict(matplotlib.rcParams)
    with matplotlib.rc_context(changed):
        with house_style():
            assert dict(matplotlib.rcParams) == before and matplotlib.rcParams["font.size"] == STYLE["font.size"]
        assert {name: matplotlib.rcParams[name] for name in changed} == changed


def test_a_backend_of_another_environment_is_not_asked_for():
    code = "from seedbed.report.figures import house_style\nwith house_style(): import os; print(os.environ['MPLBACKEND'])"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "MPLBACKEND": "no such"}, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "no such", done.stderr


def test_a_page_does_without_plates_that_cannot_be_drawn(tmp_path, write, monkeypatch):
    def fails(*_):
        raise RuntimeError("no font")

    monkeypatch.setattr("seedbed.report.files.write_plates", fails)
    report = compose([StoredRun.read(write(tmp_path, "vae").path)])
    with pytest.warns(UserWarning, match="figures for a paper cannot be drawn: no font"):
        (page, *_) = write_report(report, tmp_path / "r.html")
    assert "<h2>Verdicts</h2>" in page.read_text()


def test_a_name_of_several_lines_is_one_cell():
    table = Table("t", "", ["model"], [["a\n\nb"]])
    assert "    a b \\\\" in table.latex() and "| a b |" in table.markdown()
