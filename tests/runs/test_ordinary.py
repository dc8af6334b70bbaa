"""Twelve ordinary modules through ``seedbed.fit``: they run, say how, and go on after an interruption to the last bit."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ordinary import MODULES, data_of, loss_of

import seedbed
from seedbed.core.errors import SeedbedError
from seedbed.store.checkpoint import flatten
from seedbed.train.learner import Learner

STEPS, SEEDS = 6, 2
SETTINGS = {"seeds": SEEDS, "steps": STEPS, "eval_every": 2, "batch_size": 16, "threads": 1, "checkpoint_seconds": 0.0}


def fit(name, out, **settings):
    return seedbed.fit(MODULES[name].build, data_of(), loss=loss_of(name), name="own", out=out, **SETTINGS | settings)


def assert_same(run, expected):
    """Weights, state and rows (but for their time), to the last bit."""
    for group in expected.manifest.groups:
        found, wanted = (flatten(r.folder.latest(group)[0]) for r in (run, expected))
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], value) for key, value in wanted.items())
        rows = [[replace(row, wall_s=0.0) for row in r.folder.table(group).read()] for r in (run, expected)]
        assert rows[0] == rows[1]


@pytest.mark.parametrize("name", MODULES)
def test_it_runs_says_how_and_goes_on(name, tmp_path, monkeypatch, capsys):
    kind = MODULES[name]
    whole = fit(name, tmp_path / "whole")
    said = capsys.readouterr().err
    assert whole.manifest.strategy == ("sequential" if kind.reason else "vectorized")
    assert whole.manifest.reason == said.strip() and bool(said) == bool(kind.reason)
    assert {row.metric for row in whole.folder.rows() if row.split == "status"} == {"finished"}

    advance, left = Learner.advance, [STEPS * len(whole.manifest.groups) - 3]

    def interrupted(learner):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        advance(learner)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Learner, "advance", interrupted)
        fit(name, tmp_path / "cut")
    torch.manual_seed(99)  # whatever else draws has no say
    assert_same(fit(name, tmp_path / "cut"), whole)


KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[2:]
from test_ordinary import Learner, fit
advance, left = Learner.advance, [5]
def deadly(learner):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    advance(learner)
Learner.advance = deadly
fit("LSTM", sys.argv[1])
"""


@pytest.mark.slow
def test_it_goes_on_after_a_kill(tmp_path):
    here = Path(__file__).parent
    command = [sys.executable, "-c", KILLED, str(tmp_path / "cut"), str(here), str(here.parent)]
    killed = subprocess.run(command, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    assert list((tmp_path / "cut").rglob("step-*"))
    assert_same(fit("LSTM", tmp_path / "cut"), fit("LSTM", tmp_path / "whole"))


def test_a_strategy_that_it_cannot_take_is_refused(tmp_path):
    says = r"`if` on a tensor's value in body .*; leave out --strategy, or say --strategy sequential$"
    with pytest.raises(SeedbedError, match=says):
        fit("if", tmp_path, strategy="vectorized")
    assert not list(tmp_path.iterdir())
    assert fit("if", tmp_path, strategy="sequential", seeds=1).manifest.reason == ""


def test_a_game_is_played_by_its_losses(tmp_path):
    """Each player owns what its name says, the first is judged by, and weights alone open it again."""
    run = fit("GAN pair", tmp_path)
    assert {"critic_loss", "generator_loss"} <= set(run.table["metric"])
    assert run.manifest.config["players"] == ["critic", "generator"]
    again = seedbed.load(run.path, build=MODULES["GAN pair"].build)
    for one, other in zip(run.models, again.models, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    few = {"critic": loss_of("GAN pair")["critic"]}
    for loss, says in ((few, "generator"), ({}, r"a loss for each player, .*, got none")):
        with pytest.raises(SeedbedError, match=says):
            seedbed.fit(MODULES["GAN pair"].build, data_of(), loss=loss, out=tmp_path / "other", **SETTINGS)
