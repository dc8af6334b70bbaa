"""The use of a hierarchy's layers: what each says about x, and which have collapsed onto their priors."""

from collections.abc import Mapping, Sequence

from seedbed.core.metric import KL_OF_LAYER, KL_OF_UNIT
from seedbed.report.tables import Table
from seedbed.report.verdicts import Family
from seedbed.report.words import spread

COLLAPSED = 0.1  # nats of a layer's KL: it says next to nothing about x
_FACTS = ("mean", "low", "high", "std", "n", "seeds", "diverged")


def _layer(metric: str) -> str:
    """The layer whose KL a metric is; empty for any other, that of a single unit too."""
    found = KL_OF_LAYER.parse(metric)
    return found["layer"] if found and KL_OF_UNIT.parse(f"units/{metric}") is None else ""


def collapsed_layers(kl: Mapping[tuple[str, int], float]) -> list[str]:
    """A sentence for each layer that has collapsed onto its prior in some seed: a mean KL below 0.1 nats.

    Args:
        kl: the mean of ``kl_<layer>_nats`` by (metric, seed); other metrics are passed over.
    """
    low: dict[str, dict[int, float]] = {}
    for (metric, seed), nats in kl.items():
        if (layer := _layer(metric)) and nats < COLLAPSED:
            low.setdefault(layer, {})[seed] = nats
    return [
        f"layer {layer} has collapsed onto its prior in {'seed' if len(seeds) == 1 else 'seeds'} "
        f"{', '.join(map(str, sorted(seeds)))}: a KL of at most {max(seeds.values()):.2g} nats"
        for layer, seeds in sorted(low.items())
    ]


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
                said = f"seed{'s' * (len(dead) > 1)} {', '.join(map(str, dead))}" if dead else "none"
                body.append([family.group.task, run.label, layer, spread(mean.interval), said])
                raw.append({"data": family.group.task, "model": run.label, "layer": layer, "collapsed": len(dead)})
                raw[-1] |= {key: getattr(mean, key) for key in _FACTS}
    caption = (
        "The use of each stochastic layer: mean KL of its posterior from its prior on the test split, in nats, with its "
        f"95 % interval over seeds. Collapsed: seeds in which it is below {COLLAPSED:g}: the layer says nothing about x."
    )
    return Table("layers", caption, ["data", "model", "layer", "KL [95 %]", "collapsed"], body, raw, words=3)
