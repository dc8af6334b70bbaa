"""Processes that share a folder, killed at random: ``tests/runs/races.py`` in small, and at its full size if asked."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

RACES = Path(__file__).with_name("races.py")


def raced(starts, *more):
    done = subprocess.run([sys.executable, RACES, "--starts", str(starts), *more], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1])["starts"] >= starts


def test_a_few_starts():
    raced(4, "--seed", "7")


@pytest.mark.slow
@pytest.mark.parametrize("hosts", [(), ("--hosts",)])
def test_200_starts(hosts):
    raced(200, *hosts)
