"""docs/python.md does what it says: its lines run one after the other, and what they promise is there."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # two runs, as the page has them
PAGE = Path(__file__).parents[1] / "docs/python.md"


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """The names that the page leaves behind, and the folder that it ran in."""
    where, names = tmp_path_factory.mktemp("page"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(where)
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S):
            exec(compile(block, str(PAGE), "exec"), names)
    return names, where


def test_every_line_runs(said, monkeypatch):
    names, where = said
    monkeypatch.chdir(where)
    assert names["x"].shape == (100, 3) and names["log_p"].shape == (100,) and names["log_p"].requires_grad
    assert (where / "both.html").exists() and (names["vae"].path / "report.html").exists()
    assert names["run"].sample(5).equal(names["vae"].sample(5))
    assert list(names["verdict"].verdicts["outcome"]) and str(names["verdict"]) == repr(names["verdict"])


def test_a_notebook_shows_it_it(said, monkeypatch):
    names, where = said
    monkeypatch.chdir(where)
    text = names["vae"]._repr_html_()
    assert "6 seeds" in text and "nll_nats" in text and text.count("<table>") == 2  # its numbers, and those compared
    assert names["verdict"]._repr_html_().count("<li>") == 2
    assert names["vae"].figure("curves")._repr_png_().startswith(b"\x89PNG")
