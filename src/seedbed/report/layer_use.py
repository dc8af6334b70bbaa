"""The use of latents: what each layer of a hierarchy says about x, and where nothing does."""

from collections.abc import Collection, Mapping, Sequence

from seedbed.core.metric import KL, KL_OF_LAYER, KL_OF_UNIT
from seedbed.report.stored import StoredRun
from seedbed.report.tables import Table
from seedbed.report.verdicts import Family
from seedbed.report.words import spread

COLLAPSED = 0.1  # nats of a KL, of a layer's or of all latents': they say next to nothing about x
_FACTS = ("mean", "low", "high", "std", "n", "seeds", "diverged")


def _layer(metric: str) -> str:
    """The layer whose KL a metric is; empty for any other, that of a single unit too."""
    found = KL_OF_LAYER.parse(metric)
    return found["layer"] if found and KL_OF_UNIT.parse(f"units/{metric}") is None else ""


def unused_latents(kl: Mapping[tuple[str, int], float]) -> list[str]:
    """What says nothing about x in some seed, its mean KL being below 0.1 nats: a sentence on all latents, one per layer.

    Args:
        kl: the mean of ``kl_nats`` and of ``kl_<layer>_nats`` by (metric, seed); other metrics are passed over.
    """
    low: dict[str, dict[int, float]] = {}
    for (metric, seed), nats in kl.items():
        if (layer := _layer(metric)) and nats < COLLAPSED:
            low.setdefault(layer, {})[seed] = nats
    return trivial_equilibrium(kl) + [
        f"layer {layer} has collapsed onto its prior in {_seeds(seeds)}: a KL of at most {max(seeds.values()):.2g} nats"
        for layer, seeds in sorted(low.items())
    ]


def trivial_equilibrium(kl: Mapping[tuple[str, int], float]) -> list[str]:
    """A sentence where all latents together say nothing about x in some seed; see ``unused_latents``."""
    low = {seed: nats for (metric, seed), nats in kl.items() if metric == KL.name and nats < COLLAPSED}
    if not low:
        return []
    return [
        f"the trivial equilibrium in {_seeds(low)}: the decoder ignores z, and q(z | x) is the prior "
        f"(a KL of at most {max(low.values()):.2g} nats)"
    ]


def _seeds(seeds: Collection[int]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, sorted(seeds)))}"


def kl_of(run: StoredRun, split: str = "test") -> dict[tuple[str, int], float]:
    """The last value of every KL of a run, by (metric, seed), also of seeds that were lost."""
    names = [metric for metric in run.metrics(split) if metric == KL.name or _layer(metric)]
    found = {name: run.final(name, split) for name in names}
    return {(name, seed): nats for name, last in found.items() for seed, nats in zip(last.index.tolist(), last, strict=True)}


def trivial_words(family: Family) -> str:
    """Which runs of a group are at the trivial equilibrium, and in which seeds; empty where none is."""
    runs = [*family.group.runs, *family.group.strangers]
    return " ".join(f"{run.label}: {says}." for run in runs for says in trivial_equilibrium(kl_of(run)))


def layers_table(families: Sequence[Family]) -> Table:
    """What each stochastic layer of every run with several of them says about x, and which say nothing."""
    body, raw = [], []
    for family in families:
        for run in [*family.group.runs, *family.group.strangers]:
            rows = [row for row in run.rows if row.split == "test" and _layer(row.metric)]
            values = {(row.metric, row.seed): row.value for row in rows if row.seed not in run.lost}
            for mean in run.summaries:
                if not (layer := _layer(mean.metric)):
                    continue
                dead = sorted(seed for (name, seed), nats in values.items() if name == mean.metric and nats < COLLAPSED)
                said = _seeds(dead) if dead else "none"
                body.append([family.group.task, run.label, layer, spread(mean.interval), said])
                raw.append({"data": family.group.task, "model": run.label, "layer": layer, "collapsed": len(dead)})
                raw[-1] |= {key: getattr(mean, key) for key in _FACTS}
    caption = (
        "The use of each stochastic layer: mean KL of its posterior from its prior on the test split, in nats, with its "
        f"95 % interval over seeds. Collapsed: seeds in which it is below {COLLAPSED:g}: the layer says nothing about x."
    )
    return Table("layers", caption, ["data", "model", "layer", "KL [95 %]", "collapsed"], body, raw, words=3)
