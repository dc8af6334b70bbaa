"""What the columns of somebody's table of results mean: by the names that people give them, or as they were told."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.metric import METRICS, Better, Metric, declared

# By role the names that a column of that role has, the surest first.
_NAMES = """
seed: seed random_seed random_state rng run run_id run_idx run_number rep repeat repetition replicate trial trial_id fold
  cv_fold resample split split_id
model: model method algorithm algo agent estimator classifier learner system approach variant framework experiment
  experiment_name exp_name model_name name group policy
task: task dataset data data_set dataset_name env environment env_id env_name game benchmark problem domain task_name
  data_name
metric: metric measure metric_name tag
value: value score result metric_value performance
step: step global_step epoch iteration iter timestep timesteps frame frames
example: example example_id instance instance_id item sample_id
"""
ROLES: Mapping[str, Sequence[str]] = {
    line.split(":")[0]: line.split(":")[1].split() for line in _NAMES.replace("\n  ", " ").strip().splitlines()
}
_PREFIX = re.compile(r"^(config|params|param|tags|metrics|metric|hparams|hp|summary)[._/](?=.)")
_SEED_COLUMN = re.compile(r"(?P<word>[a-z_]*?)[ _\-.#]*(?P<number>\d+)")
_SEED_WORDS = {"", "seed", "run", "rep", "repeat", "fold", "trial", "s", "r", "replicate", "resample", "split"}

# By name what is good, and the range of what has one: of shares 1, or 100 where they are percentages.
_HIGHER = """
accuracy acc top1 top5 auc auroc roc_auc aucroc auprc average_precision ap map f1 f1_score macro_f1 precision recall
sensitivity specificity mcc kappa r2 return returns reward rewards episode_return episodic_return psnr ssim bleu rouge rougel
meteor spearman pearson ndcg mrr hits iou miou dice win_rate success success_rate log_likelihood elbo is inception_score
density coverage throughput balanced_accuracy
"""
_LOWER = """
loss error err mse rmse mae mape nll nlpd cross_entropy ce log_loss logloss brier perplexity ppl bpd bpc bpb bits_per_dim
bits_per_char bits fid kid wer cer ece regret distance time seconds runtime latency rank wasserstein mmd kl divergence
deviance cost error_rate crps rmsle
"""
_SHARES = """
accuracy acc top1 top5 auc auroc roc_auc aucroc auprc average_precision ap f1 f1_score macro_f1 precision recall sensitivity
specificity ndcg mrr hits iou miou dice win_rate success success_rate balanced_accuracy error_rate wer cer ece ssim
"""
_NONNEGATIVE = "mse rmse mae mape perplexity ppl fid brier ece time seconds runtime latency distance crps rmsle"
HIGHER, LOWER, SHARES, NONNEGATIVE = (frozenset(words.split()) for words in (_HIGHER, _LOWER, _SHARES, _NONNEGATIVE))


def plain(name: str) -> str:
    """A column's name in lower case, words joined by ``_``, without what an export puts before it."""
    return re.sub(r"[\s\-./]+", "_", _PREFIX.sub("", name.strip().lower())).strip("_")


@dataclass(frozen=True)
class Columns:
    """Which column has which role.

    Args:
        roles: by role its columns; several of one role are joined into one name.
        told: roles that were named rather than guessed.
        rest: columns that have none, in order.
    """

    roles: Mapping[str, tuple[str, ...]]
    told: frozenset[str]
    rest: tuple[str, ...]

    def words(self, source: str) -> str:
        """What was taken for what, e.g. ``results.csv: model = algo, seed = run``."""
        pairs = [f"{role} = {' + '.join(columns)}" for role, columns in self.roles.items()]
        return f"{source}: {', '.join(pairs)}" if pairs else f"{source}: no column of a known name"


def told_columns(text: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """``model=algo,seed=run`` as a mapping; ``model=algo+size`` joins two columns into one name.

    Raises:
        SeedbedError: for a role that there is none of, one that is given twice, or what is no pair.
    """
    out: dict[str, tuple[str, ...]] = {}
    for part in (part for each in text for part in each.split(",")):
        role, equals, column = part.partition("=")
        role = role.strip()
        if not equals or not column.strip():
            raise SeedbedError(f"columns are named as ROLE=COLUMN, e.g. model=algo,seed=run, got {part!r}")
        if role not in ROLES:
            raise unknown("role of a column", role, ROLES)
        if role in out:
            raise SeedbedError(f"{role} is named twice, as {' + '.join(out[role])} and {column}; join two as {role}=A+B")
        out[role] = tuple(name.strip() for name in column.split("+"))
    return out


def assigned(names: Sequence[str], told: Mapping[str, Sequence[str]]) -> Columns:
    """Roles of columns: as they are told, then by their names, each column once.

    Raises:
        SeedbedError: for a column that is not there, or that is told to be two things.
    """
    roles: dict[str, tuple[str, ...]] = {}
    for role, columns in told.items():
        for column in columns:
            if column not in names:
                raise unknown("column", column, names)
            if other := next((r for r, taken in roles.items() if column in taken), None):
                raise SeedbedError(f"column {column!r} cannot be both {other} and {role}; name another")
        roles[role] = tuple(columns)
    for role, known in ROLES.items():
        free = [name for name in names if not any(name in taken for taken in roles.values())]
        by_name = {plain(name): name for name in reversed(free)}
        if role not in roles and (found := next((by_name[word] for word in known if word in by_name), None)):
            roles[role] = (found,)
    rest = tuple(name for name in names if not any(name in taken for taken in roles.values()))
    return Columns({role: roles[role] for role in ROLES if role in roles}, frozenset(told), rest)


def seed_columns(names: Iterable[str]) -> dict[str, int]:
    """Columns that are one seed each, by name: ``seed_0, seed_1`` or ``0, 1``; empty unless there are two of one kind."""
    kinds: dict[str, dict[str, int]] = {}
    for name in names:
        found = _SEED_COLUMN.fullmatch(plain(name))
        if found and found["word"].strip("_") in _SEED_WORDS:
            kinds.setdefault(found["word"].strip("_"), {})[name] = int(found["number"])
    most = max(kinds.values(), key=len, default={})
    return most if len(most) > 1 and len(set(most.values())) == len(most) else {}


def metric_of(name: str, better: Better | None, least: int | float, largest: int | float) -> Metric:
    """What a metric of somebody's table is: as Seedbed declares it, else by the words in its name, else a matter of taste.

    Args:
        name: as the table has it.
        better: as it was told; ``None`` to go by the name.
        least: of its finite values; a range that they break is none.
        largest: of them.
    """
    if better is None and any(metric.parse(name) is not None for metric in METRICS):
        return declared(name)
    base = re.sub(r"^(neg|negative)_", "", plain(name))
    words = [base, *base.split("_")]
    words = [word for word in words if word in HIGHER | LOWER] or words
    way: Better | None = better
    if way is None and words[0] in HIGHER | LOWER:
        way = "higher" if words[0] in HIGHER else "lower"
        # A sign or a word turns what follows around: -reward, neg_log_likelihood, but not 1_error.
        if plain(name).startswith(("neg_", "negative_")) or name.strip().startswith("-"):
            way = "lower" if way == "higher" else "higher"
    low = 0.0 if words[0] in SHARES | NONNEGATIVE and least >= 0 else None
    high = None
    if words[0] in SHARES and least >= 0:
        high = 1.0 if largest <= 1 else 100.0 if largest <= 100 else None
    return Metric(name, "", "", better=way, low=low, high=high)


def told_better(text: Sequence[str]) -> dict[str, Better]:
    """``higher``, or ``accuracy=higher,loss=lower``, by metric; of all metrics under ``""``.

    Raises:
        SeedbedError: for another word.
    """
    out: dict[str, Better] = {}
    for part in (part.strip() for each in text for part in each.split(",")):
        name, _, way = part.rpartition("=")
        if way == "higher" or way == "lower":
            out[name.strip()] = way
        else:
            raise SeedbedError(f"say which way is better as higher, lower or METRIC=higher, got {part!r}")
    return out
