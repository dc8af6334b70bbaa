"""Odd input is answered in one clear line, and what says so can tell: ``tests/hostile/runner.py``."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# What a case can be answered with, as the body of an experiment's file, and what is said of it.
PLANTED = {
    "raise KeyError('x')": "a traceback",
    "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)": "crashed by SIGSEGV",
    "import time; time.sleep(60)": "hung",
    "raise SystemExit(3)": "a traceback",
    "pass": "exit code 0, expected 2",
    "raise refused('one\\ntwo')": "2 lines, expected one",
    "raise refused('\\x1b[31mred')": "control characters",
    "open('new', 'w').close(); raise refused('no')": "refused, and changed new",
    "open('kept', 'a').write('x'); raise refused('no')": "refused, and changed kept",
    "import os; os.remove('kept'); raise refused('no')": "refused, and changed kept",
    "print('seedbed: warning: x', file=sys.stderr); raise refused('no')": "",
    "raise refused('no')": "",
}
SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import runner
from case import Case

def put(line):
    import seedbed
    class refused(seedbed.SeedbedError):
        def __init__(self, message):  # as one would be that is not held to a line
            Exception.__init__(self, message)
    exec(line, {"refused": refused, "sys": sys})

def kept(folder):
    (folder / "kept").write_text("precious")

import builtins
builtins.put = put
lines = json.loads(sys.argv[2])
planted = {line: Case(kind="planted", what=line, code=f"put({line!r})", prepare=kept) for line in lines}
fine = Case(kind="planted", what="", code="put(\\"import os; os.remove('kept')\\")", prepare=kept, expects="fine")
said = {line: runner.verdict(planted[line], end) for line, end in runner.answers(planted, None, 8.0)}
said["lost"] = [fault for _, end in runner.answers({"": fine}, None) for fault in runner.verdict(fine, end)]
print(json.dumps(said))
"""


def test_cases_are_a_function_of_the_seed_and_enough():
    done = subprocess.run([sys.executable, str(HERE / "runner.py"), "--list"], capture_output=True, text=True, check=True)
    again = subprocess.run([sys.executable, str(HERE / "runner.py"), "--list"], capture_output=True, text=True, check=True)
    assert done.stdout == again.stdout
    kinds = {line.partition(":")[0] for line in done.stdout.splitlines()}
    assert len(done.stdout.splitlines()) >= 600 and len(kinds) == 10


def test_the_verdict_knows_what_is_wrong():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(HERE), json.dumps([*PLANTED])], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert "lost kept" in found.pop("lost")
    for line, says in PLANTED.items():
        assert (says in "; ".join(found[line])) if says else found[line] == [], (line, found[line])


def test_the_quick_half():
    done = subprocess.run([sys.executable, str(HERE / "runner.py"), "--quick"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_case_that_is_none():
    done = subprocess.run([sys.executable, str(HERE / "runner.py"), "--only", "nosuch:1"], capture_output=True, text=True)
    assert done.returncode == 2 and "no case nosuch:1" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_all_of_them():
    done = subprocess.run([sys.executable, str(HERE / "runner.py")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
