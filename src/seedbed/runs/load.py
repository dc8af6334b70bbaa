"""A run as it is stored: its table, its models, and draws from them."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from html import escape
from math import nan, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from seedbed.core.ambient import plain
from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.memory import check_memory
from seedbed.core.numbers import SEED_MOST, number, shown, whole
from seedbed.core.words import place, text
from seedbed.data import loaded_once
from seedbed.experiments import EXPERIMENTS, MODELS, find
from seedbed.experiments.experiment import Experiment
from seedbed.experiments.files import checksums, is_in_file, read_file, split_name
from seedbed.experiments.own import is_fitted, refitted
from seedbed.runs.places import at_hand
from seedbed.runs.resume import changed_code
from seedbed.runs.trust import choose, is_chosen
from seedbed.store.folder import Folder
from seedbed.store.manifest import Manifest, config_hash

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from seedbed.core.stack import Stack
    from seedbed.report.comparison import Comparison
    from seedbed.report.stored import StoredRun


def load(
    path: Path | str,
    experiment: Experiment | str | None = None,
    *,
    build: "Callable[..., nn.Module] | None" = None,
    data: Any = None,
) -> "Run":
    """Open a run folder. Its table is there in any case; its models need the code that they are made of.

    Args:
        path: what ``run`` wrote.
        experiment: the declaration, or ``file.py:variable``, for runs of your own experiments whose file is elsewhere, was
            changed, or was never run by you: no code is executed because a folder names it.
        build: what makes a module, for runs of ``fit``.
        data: of such a run, where more than its models is asked for.

    Raises:
        SeedbedError: if it is no run folder, or of another version, or of another experiment.
    """
    if not isinstance(path, str | Path):
        raise SeedbedError(f"expected the path of a run folder, got {shown(path)}")
    if experiment is not None and not isinstance(experiment, str | Experiment):
        raise SeedbedError(f"experiment must be an Experiment or file.py:variable, got {shown(experiment)}")
    folder = Folder(place("path", path))
    manifest = folder.manifest()
    if build is not None:
        return Run(folder, refitted(manifest.config, build, data))
    return Run(folder, resolve(manifest, experiment) if experiment is not None or not is_own(manifest) else None)


def is_own(manifest: Manifest) -> bool:
    """Whether a run is of code of one's own, not of a registered experiment."""
    return manifest.experiment not in EXPERIMENTS and manifest.experiment not in MODELS


def resolve(manifest: Manifest, experiment: Experiment | str | None = None) -> Experiment:
    """The experiment of a run: given, registered, or of the file that it was run from if this user has run that before.

    Raises:
        SeedbedError: for an experiment of one's own whose code is not to be had, or was changed, with what to pass.
    """
    if experiment is not None:
        found = find(experiment) if isinstance(experiment, str) else experiment
        out = found.with_config(manifest.config)
        if changed_code(manifest, found) and config_hash(manifest.experiment, out.config()) != manifest.hash:
            raise SeedbedError(
                f"this run is of {manifest.experiment} with other settings than the experiment that is given has"
            )
        if found.source is not None:
            choose(found.source.record())
        return out
    if not is_own(manifest):
        return find(manifest.experiment).with_config(manifest.config)
    if not is_in_file(manifest.experiment) and is_fitted(manifest.config):
        raise SeedbedError(f"this run is of a module given in Python, {manifest.experiment}; pass it: load(path, build=...)")
    if not is_in_file(manifest.experiment):
        raise SeedbedError(f"this run is of an experiment of one's own, {manifest.experiment}; pass that to load it")
    return _of_file(manifest).with_config(manifest.config)


def _of_file(manifest: Manifest) -> Experiment:
    """The experiment of the file that a run remembers, if it is what it was and this user has chosen it."""
    _, variable = split_name(manifest.experiment)
    what = f"--experiment FILE.py:{variable} (experiment=... in Python)"
    sources = manifest.source.get("sha256", {})
    if not sources:
        raise SeedbedError(f"this run is of {manifest.experiment}; pass that experiment to load it: {what}")
    file = Path(manifest.source["file"])
    if not file.is_file():
        raise SeedbedError(f"this run is of {file}, which is not there any more; say where it is now: {what}")
    if changed := [name for name, sha in checksums(file, sources).items() if sha != sources[name]]:
        raise SeedbedError(f"{', '.join(changed)} changed since this run was made; to use what there is now: {what}")
    if not is_chosen(sources):
        raise SeedbedError(f"this run is of {file}, which you have not run here; if you trust it: {what}")
    return read_file(file, allowed=sources).find(variable)


def compare(
    *runs: "Run | Path | str | pd.DataFrame",
    metric: str | None = None,
    at_least: float | None = None,
    against: float | None = None,
    columns: Mapping[str, str] | None = None,
    better: str | Mapping[str, str] | None = None,
    recipe: str | None = None,
) -> "Comparison":
    """Say which differences between runs are real: every pair on one data set, seed by seed.

    Somebody's own results will do: data frames, or files of them, with columns for model and seed (see ``judge.results``).

    Args:
        runs: two or more, or their folders; or tables of results.
        metric: the test metric to compare on; by default the gap to the known floor where all have it, else the first in
            common, else what each knows of -log p(x), exact or a bound, and then it says which is which.
        at_least: the least difference that matters; with it two may be the same within it.
        against: a number without seeds to judge each run against; then one run is enough.
        columns: of tables, by role: ``{"model": "algo", "seed": "run"}``.
        better: of tables, ``"higher"``, ``"lower"``, or one of them by metric; by the metric's name where that says it.
        recipe: who wrote a table: ``lightning``, ``wandb``, ``mlflow`` or ``tensorboard``.

    Raises:
        SeedbedError: for runs of other data, without a test number yet, or with none in common.
    """
    import pandas as pd

    from seedbed.judge.files import is_results
    from seedbed.report.comparison import compared
    from seedbed.report.stored import StoredRun

    if odd := [run for run in runs if not isinstance(run, Run | Path | str | pd.DataFrame)]:
        raise SeedbedError(f"expected runs, their folders or tables of results, got {shown(odd[0])}")
    if metric is not None and not isinstance(metric, str):
        raise SeedbedError(f"metric must be the name of a test metric, got {shown(metric)}")
    margin = nan if at_least is None else number("at_least", at_least, 0, above=True)
    bar = None if against is None else number("against", against)
    tables = [run for run in runs if isinstance(run, pd.DataFrame) or (isinstance(run, Path | str) and is_results(str(run)))]
    if tables:
        if len(tables) < len(runs):
            raise SeedbedError("some of these are tables of results, the others runs; compare tables, or runs")
        return compared(_of_tables(tables, columns, better, recipe), metric, at_least=margin, bar=bar)
    if given := [
        name for name, value in (("columns", columns), ("better", better), ("recipe", recipe)) if value is not None
    ]:
        raise SeedbedError(f"{given[0]} is of tables of results, and these are runs; leave it out")
    stored = [run.stored if isinstance(run, Run) else StoredRun.read(Path(str(run))) for run in runs]
    places = [os.path.realpath(run.folder.path) for run in stored]
    if twice := next((run for run, path in zip(stored, places, strict=True) if places.count(path) > 1), None):
        raise SeedbedError(f"{twice.folder} is named twice, and a run does not differ from itself; name another")
    for run in stored:
        if not run.judged:
            raise SeedbedError(f"{run.folder} has no test number yet; run the same command again to finish it")
    return compared(stored, metric, at_least=margin, bar=bar)


def _of_tables(
    given: "Sequence[pd.DataFrame | Path | str]", columns: object, better: object, recipe: object
) -> "list[StoredRun]":
    """The runs of data frames and files of results."""
    from seedbed.judge.columns import told_better, told_columns
    from seedbed.judge.files import read_results
    from seedbed.judge.results import results
    from seedbed.report.others import runs_of

    pairs = lambda value: [f"{name}={word}" for name, word in value.items()] if isinstance(value, Mapping) else [str(value)]
    tables: dict[str, pd.DataFrame] = {}
    for number_, table in enumerate(given):
        if isinstance(table, str | Path):
            tables |= read_results([table], None if recipe is None else text("recipe", recipe))
        else:
            tables[f"table {number_ + 1}"] = table
    told = told_columns([] if columns is None else pairs(columns))
    return runs_of(results(tables, told=told, better=told_better([] if better is None else pairs(better))))


class Run:
    """One experiment over its seeds, finished or not.

    Args:
        folder: where it is stored.
        experiment: its declaration; ``None`` to look for it when it is needed (see ``resolve``).
    """

    def __init__(self, folder: Folder, experiment: Experiment | None) -> None:
        self.folder = folder
        self._given = experiment
        self.manifest = folder.manifest()
        self._compared: Comparison | None = None

    @cached_property
    def experiment(self) -> Experiment:
        """Its declaration.

        Raises:
            SeedbedError: if it is of code of one's own that is not to be had (see ``resolve``).
        """
        return resolve(self.manifest) if self._given is None else self._given

    def __repr__(self) -> str:
        return f"Run({self.manifest.experiment}, seeds={self.seeds}, path={str(self.folder)!r})"

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def seeds(self) -> list[int]:
        """All seeds, in order."""
        return self.manifest.seeds

    @property
    def table(self) -> "pd.DataFrame":
        """The long table: one row per (seed, step, split, metric)."""
        return self.folder.frame()

    @cached_property
    def models(self) -> Sequence["nn.Module"]:
        """One plain ``nn.Module`` per seed, in the order of ``seeds``, with the weights that were evaluated.

        The data need not be there: all numbers are in the run's folder. ``run.models[0].sample(100)`` draws from one.
        """
        return self.models_of(self.seeds)

    @plain()
    def models_of(self, seeds: Sequence[int]) -> Sequence["nn.Module"]:
        """``models`` of chosen seeds, in the order that they are asked for; only their groups are read.

        Raises:
            SeedbedError: for a seed that is not in this run, or whose group has no checkpoint yet.
        """
        if isinstance(seeds, str | bytes) or not isinstance(seeds, Iterable) or getattr(seeds, "ndim", 1) != 1:
            raise SeedbedError(f"seeds must be a list of seeds of this run, got {shown(seeds)}; e.g. [{self.seeds[0]}]")
        seeds = [self.check_seed(seed) for seed in seeds]
        from seedbed.core.by_hand import drawing

        with loaded_once():
            stacks = self.stacks(groups=self.groups_of(seeds))
            rows = {seed: drawing(stack.model(row)) for group, stack in stacks for row, seed in enumerate(group)}
        return [rows[seed] for seed in seeds]

    def stacks(self, device: str = "cpu", groups: Sequence[list[int]] | None = None) -> "Iterator[tuple[list[int], Stack]]":
        """The trained stack of one group of seeds after the other, with its seeds.

        Args:
            device: where to put them.
            groups: only these groups; all by default.

        Raises:
            SeedbedError: if a group has no checkpoint yet.
        """
        import torch

        for group in self.manifest.groups if groups is None else groups:
            found = self.folder.newest(group)
            if found is None:
                raise SeedbedError(
                    f"{self.folder} has no checkpoint for seeds {group} yet; run the same command to continue it"
                )
            yield group, self._restored(group, torch.device(device), *found)

    @plain()
    def _restored(
        self, group: list[int], device: "torch.device", tree: "Mapping[str, Any]", meta: "Mapping[str, Any]"
    ) -> "Stack":
        """One group's stack: of its checkpoint and manifest alone, or, of a model that reads its data, with these."""
        from seedbed.runs.weights import NeedsData, bare_task
        from seedbed.train.weights import restored

        streams = self.experiment.streams(group)
        try:
            return restored(bare_task(self.experiment, self.manifest.data), streams, device, tree, meta)
        except NeedsData:
            with at_hand(self.folder, self.manifest, self.experiment):
                return restored(self.experiment.task(streams), streams, device, tree, meta)

    @overload
    def sample(self, count: int, seed: int) -> "Tensor": ...
    @overload
    def sample(self, count: int) -> "Tensor": ...
    def sample(self, count: int = 64, seed: int | None = None) -> "Tensor":
        """Draws from the trained models, ``[seeds, count, *example]``, or ``[count, *example]`` of one seed."""
        import torch

        from seedbed.evaluate.estimate import draw_samples
        from seedbed.models.adapted import draw
        from seedbed.runs.weights import check_draws

        count = whole("count", count, 1)
        if seed is not None:
            seed = self.check_seed(seed)
        seeds = len(self.seeds) if seed is None else 1
        need = 4 * seeds * count * prod(self.manifest.data.get("shape", ()))  # of what is returned alone
        check_memory(f"drawing {count} examples of {seeds} seed{'s' * (seeds > 1)}", need, "draw fewer at once (--count)")
        drawn: dict[int, Tensor] = {}
        with plain(self.manifest.threads), loaded_once():
            for group, stack in self.stacks(groups=self.groups_of(self.seeds if seed is None else [seed])):
                check_draws(stack.module, self.manifest.experiment)
                drawn |= zip(group, draw_samples(stack, draw, count), strict=True)
        return torch.stack([drawn[s] for s in self.seeds]) if seed is None else drawn[seed]

    @property
    def stored(self) -> "StoredRun":
        """The run as reports see it: what its folder says now."""
        from seedbed.report.stored import StoredRun

        return StoredRun.read(self.path)

    @property
    def summary(self) -> "pd.DataFrame":
        """A row for each test metric: mean over seeds with its 95 % interval, standard deviation, seeds, diverged."""
        import pandas as pd

        from seedbed.report.run_tables import summarise_run

        return pd.DataFrame([row.facts for row in summarise_run(self.folder)])

    def compare(self, *others: "Run | Path | str", metric: str | None = None) -> "Comparison":
        """Judge this run against others, seed by seed; see ``compare``."""
        self._compared = compare(self, *others, metric=metric)
        return self._compared

    def report(self, path: Path | str | None = None) -> Path:
        """Write the page about this run, its tables and figures beside it, and say where.

        Args:
            path: ending in ``.html``; by default ``report.html`` in the run's folder.

        Raises:
            SeedbedError: for a name that is no web page's.
        """
        from seedbed.report.comparison import page_path
        from seedbed.report.document import compose
        from seedbed.report.files import write_report

        target = page_path(path if path is not None else self.path / "report.html")
        return write_report(compose([self.stored]), target)[0]

    def figure(self, kind: str = "samples") -> "Figure":
        """A figure of matplotlib's that a notebook shows by itself; nothing of ``pyplot`` is touched.

        Args:
            kind: ``samples`` (what the models draw beside the data) or ``curves`` (validation, a line for each seed).

        Raises:
            SeedbedError: for another kind, or a run that has stored nothing for it yet.
        """
        from seedbed.report.figures import KINDS, house_style

        if not isinstance(kind, str) or kind not in KINDS:
            raise unknown("figure", kind if isinstance(kind, str) else shown(kind), KINDS)
        with house_style():
            figure = KINDS[kind](self.stored)
        if figure is None:
            why = "its model draws nothing that is pictured" if self.stored.finished else "continue it by the same command"
            raise SeedbedError(f"{self.folder} has stored nothing for a figure of {kind}: {why}")
        return figure

    def _repr_html_(self) -> str:
        """For notebooks: what it is, how its seeds ended, its numbers, and what it was compared with last."""
        from seedbed.report.run_tables import runs_table, summarise_run

        fates = Counter(fate.replace("_", " ") for fate, _ in self.stored.fates.values())
        fates["still training"] = len(self.seeds) - fates.total()
        ended = ", ".join(f"{count} {fate}" for fate, count in fates.items() if count)
        head = f"<p><b>{escape(self.manifest.experiment)}</b>, {len(self.seeds)} seeds: {escape(ended)}<br>"
        rows = summarise_run(self.folder)
        table = runs_table(rows).html() if rows else "<p>no finished seed yet</p>"
        said = self._compared._repr_html_() if self._compared is not None else ""
        return f"{head}<code>{escape(str(self.folder))}</code></p>{table}{said}"

    def groups_of(self, seeds: Collection[int]) -> list[list[int]]:
        """The groups of seeds, as they trained together, that these seeds are in."""
        return [group for group in self.manifest.groups if not set(group).isdisjoint(seeds)]

    def check_seed(self, seed: int) -> int:
        """A seed of this run; raises ``SeedbedError`` for any other."""
        seed = whole("seed", seed, 0, SEED_MOST)
        if seed not in self.seeds:
            raise SeedbedError(f"seed {seed} is not in this run; it has {self.seeds}")
        return seed
