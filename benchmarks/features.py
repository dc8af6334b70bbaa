"""Train the classifiers that pictures are compared by.

``python benchmarks/features.py mnist fashion cifar10`` writes ``src/seedbed/evaluate/features/<name>.safetensors`` and
adds what was measured to ``results/pictures/features.json``. The last class is *none of these*: noise, shuffled pixels and
patches, random fields, blends and halves of two pictures. Half of the grey pictures are shown as bits, so that the features
are of use for models of bits as well.
"""

import json
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from seedbed.core.noise import Streams
from seedbed.data import load
from seedbed.evaluate.features.net import PictureNet
from seedbed.store.manifest import versions

HERE = Path(__file__).resolve().parent.parent
EPOCHS = {"mnist": 8, "fashion": 10, "cifar10": 40}
NAMES = {
    "mnist": tuple("0123456789"),
    "fashion": ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"),
    "cifar10": ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}
BATCH, RATE = 128, 2e-3


def examples(name: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Pictures in [0, 1] and labels, to train on and to test on."""
    if name != "cifar10":
        data = load("mnist" if name == "mnist" else "fashion-mnist")
        return {split: (data.splits[split][:] / 255, data.labels[split]) for split in ("train", "test")}
    found = {}
    for split, file in (("train", "cifar10_train_batch_1.npz"), ("test", "cifar10_test_batch.npz")):
        with np.load(Path(os.environ["SEEDBED_DATA"]) / "CIFAR10" / file) as arrays:
            x, y = (arrays[key] for key in sorted(arrays.files, key=lambda key: -arrays[key].ndim)[:2])
        x = torch.from_numpy(x.reshape(len(x), 3, 32, 32) if x.ndim == 2 or x.shape[1] == 3 else x.transpose(0, 3, 1, 2))
        found[split] = x.float() / 255, torch.from_numpy(y.astype(np.int64))
    return found


def initialise(net: nn.Module, g: torch.Generator) -> None:
    """Normal weights of variance 2 / inputs, no bias."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            with torch.no_grad():
                module.weight.normal_(0, math.sqrt(2 / module.weight[0].numel()), generator=g)
            nn.init.zeros_(module.bias)


def shown(x: Tensor, grey: bool, g: torch.Generator) -> Tensor:
    """A batch shifted by up to two pixels each way; grey ones as bits every other time, colour ones mirrored so often."""
    n, side = len(x), x.shape[-1]
    padded, out = F.pad(x, (2, 2, 2, 2)), torch.empty_like(x)
    for i, (top, left) in enumerate(torch.randint(0, 5, (n, 2), generator=g).tolist()):
        out[i] = padded[i, :, top : top + side, left : left + side]
    every_other = torch.rand(n, generator=g) < 0.5
    if grey:
        out[every_other] = torch.bernoulli(out[every_other], generator=g)
    else:
        out[every_other] = out[every_other].flip(-1)
    return out


def junk(x: Tensor, g: torch.Generator) -> Tensor:
    """Pictures of nothing, of ten kinds in turn, made of a batch and of draws."""
    n, channels, side, _ = x.shape
    other, out = x[torch.randperm(n, generator=g)], torch.empty_like(x)
    uniform, rate = torch.rand(x.shape, generator=g), torch.rand(n, 1, 1, 1, generator=g)
    coarse = torch.randn(n, channels, 7, 7, generator=g)
    field = torch.sigmoid(
        F.interpolate(coarse, side, mode="bilinear") * torch.empty(n, 1, 1, 1).uniform_(1, 20, generator=g)
    )
    cut, mask = torch.randint(side // 3, side - side // 3, (n,), generator=g), torch.zeros(n, 1, side, side)
    for i, at in enumerate(cut.tolist()):
        (mask[i, :, at:] if i % 2 else mask[i, :, :, at:]).fill_(1)
    quarter = side // 4
    kinds = (
        uniform,
        (uniform < rate).float(),
        (0.5 + (uniform - 0.5) * 0.3 * rate).clamp(0, 1),
        x.flatten(2)[:, :, torch.randperm(side * side, generator=g)].view(x.shape),
        field,
        (uniform < field).float(),
        (0.5 * (x + other)),
        torch.maximum(x, other),
        mask * x + (1 - mask) * other,
        torch.cat(
            [x.roll((quarter * (1 + i), quarter * 2), (2, 3))[:, :, i * quarter : (i + 1) * quarter] for i in range(4)], 2
        ),
    )
    for kind, found in enumerate(kinds):
        some = slice(kind, n, len(kinds))
        out[some] = found[some]
    return out


def train(name: str) -> None:
    """One classifier, its weights and what it came to."""
    streams, began = Streams(0), time.perf_counter()
    data = examples(name)
    (x, y), (test_x, test_y) = data["train"], data["test"]
    grey, classes = x.shape[1] == 1, len(NAMES[name])
    net = PictureNet(x.shape[1], classes)
    initialise(net, streams.generator("init", "features", name))
    g = streams.generator("order", "features", name)
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.01)
    steps = EPOCHS[name] * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for epoch in range(EPOCHS[name]):
        for rows in torch.randperm(len(x), generator=g).split(BATCH):
            if len(rows) < BATCH:
                continue
            batch, some = shown(x[rows], grey, g), rows[: BATCH // 4]
            none = junk(shown(x[some], grey, g), g)
            labels = torch.cat([y[rows], torch.full((len(none),), classes)])
            loss = F.cross_entropy(net(torch.cat([batch, none])).logits, labels, label_smoothing=0.01)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        print(name, epoch, f"{loss.item():.4f} {time.perf_counter() - began:.0f} s", flush=True)
    with torch.no_grad():
        embedded = torch.cat([net(part).features for part in x.split(1000)])
        net.location.copy_(embedded.mean(0))
        net.scale.copy_(embedded.std(0))
        logits = torch.cat([net(part).logits for part in test_x.split(1000)])
        bits = torch.cat([net(torch.bernoulli(part, generator=g)).logits for part in test_x.split(1000)])
        nothing = torch.cat([net(junk(part, g)).logits for part in test_x.split(1000)])
    sure = lambda found: float((found.softmax(1)[:, :-1].max(1).values > 0.9).double().mean())
    right = lambda found: float((found[:, :-1].argmax(1) == test_y).double().mean())
    facts = {
        "accuracy": right(logits),
        "recognised_share": sure(logits),
        "accuracy_as_bits": right(bits) if grey else None,
        "recognised_share_as_bits": sure(bits) if grey else None,
        "recognised_share_of_nothing": sure(nothing),
        "steps": steps,
        "seconds": round(time.perf_counter() - began, 1),
        "versions": versions(),
    }
    meta = {
        "classes": ",".join(NAMES[name]),
        "shape": ",".join(map(str, x.shape[1:])),
        "accuracy": f"{facts['accuracy']:.4f}",
    }
    target = HERE / "src/seedbed/evaluate/features" / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, target, metadata=meta)
    record = HERE / "results/pictures/features.json"
    rows = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    record.write_text(json.dumps(rows | {name: facts}, indent=1) + "\n", encoding="utf-8")
    print(name, facts)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or EPOCHS:
        train(wanted)
