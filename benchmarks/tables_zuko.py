"""Flows on scikit-learn's tables: ours against zuko's of the same kind and size, in nats on the same test rows.

Both see the same rows standardised by the training split, in batches of the same size, with Adam, the same step size and its
cosine, clipping, weight average, validations and patience; the weights that were best on validation are tested. zuko's masks
alternate, where ours halve and reverse; its splines end at 5, ours at 4; it has no normalisation between couplings. Every
seed has a split of its own, since a dozen test rows are luck that no number of seeds on one split would show. A difference
below 0 says that ours is better; its interval is Student's over the pairs.

    python benchmarks/tables_zuko.py [--seeds 5] [--only SET] [--record]
"""

import argparse
import copy
import math
import tempfile
from collections.abc import Sequence

import numpy as np
import torch
import zuko
from pairs import commit, record
from scipy import stats
from torch import Tensor, nn

import seedbed
from seedbed.data.dataset import Dataset
from seedbed.experiments import CouplingFlow, Training, find
from seedbed.train.schedules import SCHEDULES

SETS = ("iris", "wine", "breast-cancer", "diabetes")
COMMAND = "python benchmarks/tables_zuko.py --record"
STEPS = 1_500
KINDS = ("flow", "spline-flow")


def theirs(flow: CouplingFlow, features: int) -> nn.Module:
    """zuko's coupling flow of that kind and size, with its own change of axes after each coupling."""
    sizes = {"features": features, "transforms": flow.couplings, "hidden_features": flow.hidden}
    if flow.coupling == "affine":
        plain = zuko.flows.NICE(**sizes)
    else:
        shapes = [(flow.bins,), (flow.bins,), (flow.bins - 1,)]
        plain = zuko.flows.NICE(**sizes, univariate=zuko.transforms.MonotonicRQSTransform, shapes=shapes)
    chain: list[nn.Module] = []
    for bend in plain.transform.transforms:
        chain += [bend, zuko.lazy.UnconditionalTransform(zuko.transforms.LULinearTransform, torch.eye(features))]
    return zuko.flows.Flow(chain, plain.base)


def trained(flow: nn.Module, training: Training, train: Tensor, valid: Tensor, seed: int, steps: int = STEPS) -> nn.Module:
    """The weight average that was best on validation, by a loop as anyone would write it."""
    g, factor = torch.Generator().manual_seed(seed), SCHEDULES[training.schedule]()
    optimizer = torch.optim.Adam(flow.parameters(), lr=training.lr)
    average, best, value, since = copy.deepcopy(flow), copy.deepcopy(flow), math.inf, 0
    rows, first = torch.randperm(len(train), generator=g), 0
    for step in range(steps):
        if first + training.batch_size > len(train):
            rows, first = torch.randperm(len(train), generator=g), 0
        x, first = train[rows[first : first + training.batch_size]], first + training.batch_size
        for group in optimizer.param_groups:
            group["lr"] = training.lr * factor(step, steps)
        optimizer.zero_grad()
        (-flow().log_prob(x).mean()).backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), training.clip)
        optimizer.step()
        decay = min(training.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, now in zip(average.parameters(), flow.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)
        if (step + 1) % training.eval_every:
            continue
        with torch.no_grad():
            found = float(-average().log_prob(valid).mean())
        since = 0 if found < value else since + 1
        if since == 0:
            best.load_state_dict(average.state_dict())
            value = found
        if since >= training.patience:
            break
    return best


def of_zuko(training: Training, flow: CouplingFlow, data: Dataset, seed: int) -> float:
    """Test nll of a seed, in nats of the table's units."""
    assert data.units is not None, "tables have units"
    x = {name: source[:] for name, source in data.standardised.splits.items()}
    torch.manual_seed(seed)
    best = trained(theirs(flow, data.features), training, x["train"], x["valid"], seed)
    with torch.no_grad():
        return float(-best().log_prob(x["test"]).mean() + data.units.log_volume(data.shape))


def of_ours(name: str, seed: int) -> float:
    """Test nll of a seed, in nats of the table's units."""
    with tempfile.TemporaryDirectory() as folder:
        table = seedbed.run(name, seeds=[seed], out=folder, threads=1, steps=STEPS, data_seed=seed).table
    found = table[(table.metric == "nll_nats") & (table.split == "test")]
    return float(found.value.iloc[-1])


def difference(ours: Sequence[float], other: Sequence[float]) -> tuple[float, float, float]:
    """The mean difference of the pairs, with its interval."""
    interval = stats.ttest_rel(ours, other).confidence_interval()
    return float(np.mean(ours) - np.mean(other)), float(interval.low), float(interval.high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=SETS)
    parser.add_argument("--record", action="store_true", help="write results/benchmarks/tables-zuko.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, seeds = [], range(options.seeds)
    for name in [options.only] if options.only else SETS:
        for kind in KINDS:
            experiment = find(f"tables/{name}/{kind}")
            flow = experiment.model
            assert isinstance(flow, CouplingFlow), "they are compared with coupling flows"
            ours = [of_ours(f"tables/{name}/{kind}", seed) for seed in seeds]
            other = [of_zuko(experiment.training, flow, experiment.data.load(seed), seed) for seed in seeds]
            found, low, high = difference(ours, other)
            means = float(np.mean(ours)), float(np.mean(other))
            print(
                f"{name}/{kind:12} {means[0]:8.3f} nats, zuko {means[1]:8.3f}: {found:+.3f} [{low:.3f}, {high:.3f}]",
                flush=True,
            )
            rows.append(
                {
                    "workload": f"{name}/{kind}",
                    "ours": round(means[0], 3),
                    "other": round(means[1], 3),
                    "other_is": "zuko loop",
                    "difference": round(found, 3),
                    "low": round(low, 3),
                    "high": round(high, 3),
                    "unit": "nats per test row",
                    "runs": options.seeds,
                    "device": "cpu, 1 threads",
                    "commit": commit(),
                    "command": COMMAND,
                }
            )
    if options.record:
        record("tables-zuko", rows)


if __name__ == "__main__":
    main()
