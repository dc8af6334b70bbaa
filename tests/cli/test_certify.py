"""`seedbed certify`: a line for each check, and exit codes 0, 1 and 2."""

from pathlib import Path

import pytest

from seedbed.cli.main import main

MODEL = """
import torch
from torch import nn

from seedbed.core.capabilities import HasLogProb


class Right(nn.Module, HasLogProb):
    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(2))

    def log_prob(self, x, ctx):
        return -0.5 * ((x - self.mean) ** 2).sum(-1) - 1.8378770664093453


class Wrong(Right):
    def log_prob(self, x, ctx):
        return super().log_prob(x, ctx) / 2


class Broken(Right):
    def log_prob(self, x, ctx):
        return super().log_prob(x @ torch.zeros(3, 3), ctx)
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MODEL)


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(["certify", *arguments])
    out = capsys.readouterr()
    return int(str(end.value.code)), out.out, out.err


def test_a_model_of_ones_own_that_is_right(capsys):
    code, out, err = call(capsys, "mine.py:Right", "--shape", "2")
    assert code == 0 and err == "", out + err
    assert "density log p(x) of real" in out and "passed          normalised" in out
    assert "not applicable  samples" in out


def test_one_that_is_wrong(capsys):
    code, out, _ = call(capsys, "mine.py:Wrong", "--shape", "2", "--only", "normalised", "--only", "gradients")
    assert code == 1
    assert out.splitlines()[-1] == "1 passed, 1 FAILED (normalised), 0 not applicable"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mine.py:Broken", "--shape", "2"], "in log_prob)"),
        (["mine.py:Right"], "say what"),
        (["mine.py:Missing", "--shape", "2"], "Missing"),
        (["other.py:Right", "--shape", "2"], "no file other.py"),
        (["vae"], "say what vae is a model of"),
        (["toy"], "is a study; name one of its experiments"),
        (["vae", "-d", "8gaussians", "--shape", "2"], "not both"),
        (["vae", "--shape", "two"], "a shape is numbers"),
        (["flow", "-d", "digits-binary"], "flow"),
        (["vae", "--shape", "2", "--only", "draw"], "did you mean 'draws'"),
    ],
)
def test_bad_input_is_one_line(arguments, says, capsys):
    code, out, err = call(capsys, *arguments)
    assert code == 2 and out == "", out + err
    assert err.startswith("seedbed: ") and err.count("\n") == 1 and says in err
