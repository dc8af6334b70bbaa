"""How the measures of picture quality move, and which of Seedbed's models draws the best digits.

``python benchmarks/pictures.py results/pictures/measures.json docs/pictures.md [RUN...]`` measures MNIST's test pictures
against themselves spoilt in known ways, and the draws of runs, evaluated with ``seedbed evaluate RUN... --metric
fid,kid,prdc,recognised,copies``. What each spoiling should do is said beside it and checked.
"""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seedbed.core.metric import declared
from seedbed.core.noise import Streams
from seedbed.data import load
from seedbed.evaluate.features.known import Features, shipped
from seedbed.evaluate.quality.measures import WAYS, compared
from seedbed.evaluate.quality.sight import scaled, seen
from seedbed.report.comparison import compared as judged
from seedbed.report.stored import StoredRun
from seedbed.store.manifest import versions

N = 5000
SHOWN = ("fid", "fid_infinity", "kid", "precision", "recall", "density", "coverage", "recognised_share", "class_balance")
# What each spoiling must do to a metric against the untouched half: fall, rise.
MOVES: Mapping[str, Mapping[str, str]] = {
    "Fashion-MNIST": {
        "fid": "up",
        "kid": "up",
        "precision": "down",
        "density": "down",
        "coverage": "down",
        "recognised_share": "down",
    },
    "noise, sd 0.2": {"fid": "up", "kid": "up", "precision": "down", "density": "down", "recognised_share": "down"},
    "blur, sd 1.5 pixels": {"fid": "up", "kid": "up", "density": "down", "coverage": "down", "recognised_share": "down"},
    "digits 0 to 4 alone": {"fid": "up", "kid": "up", "recall": "down", "coverage": "down", "class_balance": "down"},
    "each of 500 ten times": {"fid": "up", "coverage": "down", "recall": "down"},
}


def sets() -> tuple[Tensor, dict[str, Tensor]]:
    """Half of MNIST's test pictures, and the other half as it is and spoilt."""
    data, fashion = load("mnist"), load("fashion-mnist")
    g = Streams(0).generator("eval", "spoilt pictures")
    order = torch.randperm(10_000, generator=g)
    x, labels = scaled(data.splits["test"][:], data.domain)[order], data.labels["test"][order]
    train, train_labels = scaled(data.splits["train"][:30_000], data.domain), data.labels["train"][:30_000]
    held, other = x[:N], x[N:]
    kernel = torch.exp(-0.5 * (torch.arange(-4.0, 5.0) / 1.5) ** 2)
    kernel = (kernel / kernel.sum())[None, None, None]
    blurred = F.conv2d(F.conv2d(other, kernel, padding=(0, 4)), kernel.mT, padding=(4, 0))
    return held, {
        "the other half": other,
        "Fashion-MNIST": scaled(fashion.splits["test"][:N], fashion.domain),
        "noise, sd 0.2": (other + 0.2 * torch.randn(other.shape, generator=g)).clamp(0, 1),
        "blur, sd 1.5 pixels": blurred,
        "digits 0 to 4 alone": torch.cat([other[labels[N:] < 5], train[train_labels < 5]])[:N],
        "each of 500 ten times": other[:500].repeat(10, 1, 1, 1)[torch.randperm(N, generator=g)],
    }


def numbers(draws: Tensor, held: Any, net: Features) -> dict[str, float]:
    """Every metric of one set against the untouched half."""
    look, found = seen([draws], net), {}
    for way in WAYS:
        found |= {name.partition("@")[0]: float(v.mean()) for name, (v, _) in compared(way, [look], held, net).items()}
    return {name: round(found[name], 6) for name in (*SHOWN, "fid_error", "kid_error", "smallest_class_share", "sharpness")}


def moved(rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What did not move as it should, beyond what the halves differ by."""
    base, wrong = rows["the other half"], []
    for name, moves in MOVES.items():
        for metric, way in moves.items():
            change = rows[name][metric] - base[metric]
            if not (change > 0 if way == "up" else change < 0):
                wrong.append(f"{metric} of {name} should go {way} from {base[metric]}, is {rows[name][metric]}")
    return wrong


def of_runs(places: list[str]) -> dict[str, Any]:
    """Each metric of each run by seed, and the verdicts on every pair."""
    runs = [StoredRun.read(Path(place)) for place in places]
    out: dict[str, Any] = {"runs": {}, "verdicts": {}}
    for run in runs:
        values = {metric: run.kept(metric).round(6).tolist() for metric in run.judged}
        steps = run.manifest.config["steps"]
        out["runs"][run.manifest.experiment] = {"steps": steps, "command": run.manifest.command, "values": values}
    for metric in runs[0].judged if runs else ():
        if all(metric in run.judged for run in runs):
            found = judged(runs, metric)
            out["verdicts"][metric] = found.sentences
    return out


def page(found: Mapping[str, Any]) -> str:
    """The numbers as Markdown."""
    text = [INTRODUCTION, "| MNIST's test half against | " + " | ".join(SHOWN) + " |", "| --- |" + " --: |" * len(SHOWN)]
    for name, row in found["moves"].items():
        text.append(f"| {name} | " + " | ".join(f"{row[metric]:.4g}" for metric in SHOWN) + " |")
    if found["models"]["runs"]:
        metrics = [m for m in found["models"]["verdicts"] if "error" not in m]
        text += ["", "## Does the better likelihood draw the better picture?", "", MODELS]
        text += ["| model | " + " | ".join(m.partition("@")[0] for m in metrics) + " |", "| --- |" + " --: |" * len(metrics)]
        for name, run in found["models"]["runs"].items():
            means = [sum(run["values"][m]) / len(run["values"][m]) for m in metrics]
            text.append(
                f"| {name.rpartition('/')[2]}, {run['steps']} steps | " + " | ".join(f"{v:.4g}" for v in means) + " |"
            )
        text += [""] + [f"- {found['models']['verdicts'][m][0]} (`{m}`, {_way(m)})" for m in metrics]
    return "\n".join(text) + "\n"


def _way(metric: str) -> str:
    return f"{declared(metric).better} is better"


INTRODUCTION = """# Pictures

How Seedbed measures pictures, and how its measures were seen to move; `benchmarks/pictures.py` writes this page and
`results/pictures/measures.json`.

`seedbed evaluate RUN --metric fid,kid,prdc,recognised,copies` compares a run's draws with its test split, `seedbed
evaluate --metric fid,kid A B` any two sets: `mnist:test`, a folder of pictures, an array file, what `seedbed sample`
wrote, a run. Both sides have as many pictures. They are compared in the features of a small classifier that comes
with Seedbed (`mnist`, `fashion`, `cifar10`; trained by `benchmarks/features.py`, accuracies in
`results/pictures/features.json`), of Inception where its weights are on this disk, or of a network of your own (`--features
my_net.py:net`); a hash of the network stands in the metric's name.

*fid*, the Frechet distance, is biased: it grows as pictures get fewer. `fid_half` is its value of half of them,
`fid_infinity` what it tends to (Chong and Forsyth, 2020), `fid_error` its standard error over pictures; the interval
over seeds is another matter, and stands beside it. *kid*, the kernel distance, is unbiased and may come out below
zero. *precision*, *recall* (Kynkaanniemi et al., 2019), *density* and *coverage* (Naeem et al., 2020) say whether
draws lie among examples, and whether all examples are reached. *recognised* is the share of draws that the classifier
is sure of, with a class *none of these* beside the ten; *class_balance* how evenly those fall on the ten. *copies*
looks for training examples among the draws.

## How they move

5,000 of MNIST's test pictures against the 5,000 others, as they are and spoilt.
"""
MODELS = """Models of binarised MNIST, trained for the steps named on two cores, 10,000 draws of every seed against the
10,000 test pictures, in the features of `mnist`. Means over seeds; below, what of it is shown.
"""


def main(numbers_at: str, page_at: str, *runs: str) -> None:
    """Measure, write both files, and say what moved the wrong way."""
    net, began = shipped("mnist"), time.perf_counter()
    held, others = sets()
    look = seen([held], net)
    moves = {name: numbers(some, look, net) for name, some in others.items()}
    found = {
        "features": net.words,
        "pictures": N,
        "seconds": round(time.perf_counter() - began, 1),
        "versions": versions(),
        "moves": moves,
        "models": of_runs(list(runs)),
    }
    Path(numbers_at).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    Path(page_at).write_text(page(found), encoding="utf-8")
    for line in moved(moves):
        print(line)


if __name__ == "__main__":
    main(*sys.argv[1:])
