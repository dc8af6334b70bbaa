"""Planted mistakes are noticed, and what plants them tells a noticed mistake from all else: ``tests/mutants/runner.py``."""

import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = Path(__file__).parent / "mutants" / "runner.py"
# Lines of a list: what, code, wrong, and what else it says.
NOTICED = [(f"noticed {i}", "x / 2", f"x / {i}", "") for i in (3, 4, 5, 6)]
UNSEEN = ("unseen", "0 * y", "1 * y", "")


def run(*arguments):
    done = subprocess.run([sys.executable, str(RUNNER), *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_the_lists_fit_the_code():
    assert run("--check") == (0, "", "")


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_planted_mistakes_are_noticed():
    code, out, err = run()
    assert code == 0, out + err


@pytest.fixture
def tree(tmp_path):
    """``tree(lines)``: a package of one function, whose only test cannot see its second argument, and a list of mistakes."""

    def build(lines, test="half(6, 1) == 3"):
        for folder in ("src/toy", "tests/mutants"):
            (tmp_path / folder).mkdir(parents=True)
        (tmp_path / "src/toy/__init__.py").touch()
        (tmp_path / "src/toy/half.py").write_text("def half(x, y):\n    z = 0 * y\n    return x / 2\n")
        (tmp_path / "tests/test_half.py").write_text(f"from toy.half import half\n\n\ndef test_half():\n    assert {test}\n")
        listed = ""
        for what, code, wrong, more in lines:
            listed += f"[[mistake]]\nwhat = '{what}'\nfile = 'half.py'\ncode = '{code}'\nwrong = '{wrong}'\n"
            listed += f"tests = ['test_half.py']\n{more}\n"
        (tmp_path / "tests/mutants/halves.toml").write_text(listed)
        return tmp_path

    return build


@pytest.mark.slow
@pytest.mark.parametrize(
    ("last", "code", "says"),
    [
        (("noticed 7", "x / 2", "x / 7", ""), 0, "halves             5 of 5"),
        (UNSEEN, 1, "NOT NOTICED     halves: unseen"),
        (("noticed 7", "x / 2", "x / 7", "survives = 'halves are halves'"), 1, "SHOULD SURVIVE  halves: noticed 7"),
        # Four of five are not 95 %, however well the fifth is explained.
        ((*UNSEEN[:3], "survives = 'nobody reads z'"), 1, "survives        halves: unseen: nobody reads z"),
        (("broken", "x / 2", "x / nothing.at.all", ""), 0, "halves             5 of 5"),
    ],
)
def test_what_counts(tree, last, code, says):
    found, out, err = run("--root", tree([*NOTICED, last]))
    assert found == code and says in out, out + err


@pytest.mark.slow
def test_explained_survivors_are_few_enough_among_many(tree):
    many = [(f"noticed {i}", "x / 2", f"x / {i}", "") for i in range(3, 22)]
    code, out, err = run("--root", tree([*many, (*UNSEEN[:3], "survives = 'nobody reads z'")]))
    assert code == 0 and "19 of 20    95.0 %" in out, out + err


@pytest.mark.parametrize(
    ("last", "says"),
    [
        (("gone", "x / 8", "x / 9", ""), "halves: gone: stands 0 times in half.py, expected once: 'x / 8'"),
        (("twice", "y", "x", ""), "halves: twice: stands 2 times in half.py, expected once: 'y'"),
        (("odd", "x / 2", "x //", ""), "halves: odd: planted in half.py, it is no Python: "),
        (NOTICED[0], "halves: noticed 3: listed twice"),
        (
            ("vague", "x / 2", "x / 9", "why = 'so'"),
            "halves: vague: expected the keys code, file, tests, what, wrong; see why",
        ),
    ],
)
def test_a_list_that_does_not_fit_is_refused_by_name(tree, last, says):
    code, out, err = run("--check", "--root", tree([*NOTICED, last]))
    assert (code, out) == (2, "") and err.startswith(says) and err.count("\n") == 1, err


def test_where_a_snippet_went(tree):
    root = tree([*NOTICED, UNSEEN])
    (root / "src/toy/half.py").rename(root / "src/toy/halves.py")
    code, _, err = run("--check", "--root", root)
    assert code == 2 and err.count("stands 0 times in half.py, expected once; it stands in halves.py: ") == 5, err


def test_tests_that_are_not_there(tree):
    root = tree([*NOTICED, UNSEEN])
    listed = root / "tests/mutants/halves.toml"
    text = listed.read_text()
    for name, known in (("test_half", True), ("test_half[1]", True), ("test_third", False)):
        listed.write_text(text.replace("test_half.py", f"test_half.py::{name}"))
        said = run("--check", "--root", root)[2]
        assert (said == "") if known else f"halves: unseen: there is no test test_half.py::{name}\n" in said
    (root / "tests/test_half.py").unlink()
    listed.write_text(text)
    assert "halves: unseen: there is no test test_half.py\n" in run("--check", "--root", root)[2]


def test_a_group_has_five(tree):
    assert run("--check", "--root", tree(NOTICED))[2] == "halves has 4 mistakes; a group needs at least 5\n"
    assert run("--check", "thirds")[2].startswith("no group 'thirds'; there are bounds, ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("last", "test", "says"),
    [
        # A file that cannot be imported fails every test, and says nothing about any of them.
        (
            ("unimportable", "def half", "nothing\\ndef half", ""),
            "half(6, 1) == 3",
            "halves: unimportable: cannot be imported",
        ),
        # Nor does a process that was killed, perhaps by somebody else.
        (
            ("killed", "z = 0 * y", "import os; os._exit(3)", ""),
            "half(6, 1) == 3",
            "halves: killed: its tests ended with status 3",
        ),
        (UNSEEN, "half(6, 1) == 2", "without any mistake: tests/test_half.py::test_half"),
    ],
)
def test_what_is_no_proof_is_refused(tree, last, test, says):
    root = tree([*NOTICED, last], test)
    listed = root / "tests/mutants/halves.toml"
    listed.write_text(listed.read_text().replace("'nothing\\ndef half'", '"nothing\\ndef half"'))
    code, _, err = run("--root", root)
    assert code == 2 and err.startswith(says), err
