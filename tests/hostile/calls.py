"""The Python face with arguments that no type checker would let pass."""

import random
from collections.abc import Iterator

from case import SMALL, A, B, Case, Expected
from commands import examples

ODD = (
    "None",
    "5",
    "-1",
    "1.5",
    "float('nan')",
    "float('inf')",
    "True",
    "'x'",
    "''",
    "b'x'",
    "[]",
    "{}",
    "()",
    "{1, 2}",
    "object()",
)
ODD += (
    "lambda: 0",
    "int",
    "np.arange(3)",
    "np.float64('nan')",
    "torch.zeros(2)",
    "torch.tensor(float('nan'))",
    "Path('x')",
    "range(0)",
)
ODD += (
    "iter([])",
    "[[1]]",
    "10**12",
    "10**30",
    "1j",
    "'a\\nb'",
    "'\\x00'",
    "'\\udcff'",
    "['x']",
    "{'x': 1}",
    "pd.DataFrame()",
    "...",
)
ODD += (
    "np.array(None)",
    "slice(1)",
    "Exception()",
    "type",
    "{'train': 5}",
    "torch.nn.Linear(2, 2)",
    "'x' * 5000",
    "np.zeros((3, 2))",
)

RUN = f"seedbed.run({A.split('/', 1)[1].rsplit('/', 1)[0]!r}, {{}}, {SMALL}, name='new')"
SETTING = RUN.replace("{}", "seeds=2").replace(f"{SMALL}, name='new'", "{}")
FIT = "seedbed.fit({})"
NET = "lambda: torch.nn.Linear(2, 2)"
LOSS = "lambda m, x: (m(x) - x).square().sum(-1)"
TRAINED = "steps=3, batch_size=4, seeds=2, threads=1"

# A call and the arguments of it that are given something odd, each by itself.
PLACES: dict[str, tuple[str, int]] = {
    **{RUN.replace("{}", f"{name}={{}}"): (name, 3) for name in ("strategy", "device", "budget", "out", "quiet", "again")},
    RUN.replace("{}", "seeds={}"): ("seeds", 10),
    RUN.replace("{}", "seeds=2, checkpoint_seconds={}"): ("checkpoint_seconds", 4),
    RUN.replace("threads=1", "threads={}", 1).replace("{}", "seeds=2", 1): ("threads", 5),
    RUN.replace("name='new'", "name={}").replace("{}", "seeds=2", 1): ("name", 4),
    "seedbed.run({}, seeds=2)": ("experiment", 6),
    "seedbed.run('vae', seeds=2, data={}, steps=3)": ("data", 4),
    **{
        SETTING.replace("{}", f"{SMALL.replace(f'{name}={value}', f'{name}={{}}')}, name='new'"): (name, 3)
        for name, value in (("hidden", "(4, 4)"), ("batch_size", "16"), ("steps", "6"), ("eval_every", "3"))
    },
    **{
        SETTING.replace("{}", f"{SMALL}, {name}={{}}, name='new'"): (name, 3)
        for name in ("lr", "ema", "activation", "betas")
    },
    f"seedbed.fit({{}}, 'moons', loss={LOSS}, {TRAINED})": ("build", 6),
    f"seedbed.fit({NET}, {{}}, loss={LOSS}, name='n', {TRAINED})": ("data", 8),
    f"seedbed.fit({NET}, 'moons', loss={{}}, name='n', {TRAINED})": ("loss", 6),
    f"seedbed.fit({NET}, 'moons', utility={{}}, name='n', {TRAINED})": ("utility", 3),
    f"seedbed.fit({NET}, 'moons', loss={LOSS}, name={{}}, {TRAINED})": ("name", 6),
    f"seedbed.fit({NET}, 'moons', loss={LOSS}, name='n', metric={{}}, {TRAINED})": ("metric", 4),
    f"seedbed.fit({NET}, 'moons', loss={LOSS}, name='n', metrics={{}}, {TRAINED})": ("metrics", 4),
    f"seedbed.fit({NET}, 'moons', loss={LOSS}, name='n', frozen={{}}, {TRAINED})": ("frozen", 4),
    f"seedbed.fit({NET}, 'moons', loss={LOSS}, name='n', data_seed={{}}, {TRAINED})": ("data_seed", 4),
    f"seedbed.fit({NET}, 'moons', loss=lambda m, x: {{}}, name='n', {TRAINED})": ("what a loss returns", 6),
    f"seedbed.fit(lambda: {{}}, 'moons', loss={LOSS}, name='n', {TRAINED})": ("what is built", 5),
    "seedbed.load({})": ("path", 8),
    f"seedbed.load({A!r}, {{}})": ("experiment", 5),
    f"seedbed.load({A!r}, build={{}}).models": ("build", 4),
    "seedbed.compare({})": ("runs", 6),
    f"seedbed.compare({A!r}, {{}})": ("runs", 6),
    f"seedbed.compare({A!r}, {B!r}, metric={{}})": ("metric", 5),
    "seedbed.certify({}, domain='real', shape=2)": ("model", 6),
    f"seedbed.certify({NET}, {{}})": ("data", 5),
    "seedbed.certify('vae', domain={}, shape=2, only=['axes'])": ("domain", 5),
    "seedbed.certify('vae', domain='real', shape={}, only=['axes'])": ("shape", 6),
    "seedbed.certify('vae', domain='real', shape=2, only={})": ("only", 5),
    "seedbed.certify('vae', domain='real', shape=2, utilities={}, only=['axes'])": ("utilities", 4),
    "seedbed.certify('vae', domain='real', shape=2, bound={}, k=1, only=['axes'])": ("bound", 3),
    "seedbed.certify('vae', domain='real', shape=2, bound=lambda *a: 0, k={}, only=['axes'])": ("k", 3),
    "seedbed.data.load({})": ("name", 8),
    "seedbed.data.load('moons', seed={})": ("seed", 6),
    "seedbed.data.load('moons', train_size={})": ("train_size", 5),
    "seedbed.data.register({}, [1])": ("name", 3),
    "as_dataset({})": ("data", 12),
    "as_dataset({{'train': {}}})": ("train", 8),
    "as_dataset(np.random.default_rng(0).normal(size=(40, 3)), seed={})": ("seed", 4),
    "as_dataset(np.random.default_rng(0).normal(size=(40, 3)), binarise={})": ("binarise", 3),
    "as_dataset(np.random.default_rng(0).normal(size=(40, 3)), levels={})": ("levels", 4),
    f"seedbed.load({A!r}).sample({{}})": ("count", 8),
    f"seedbed.load({A!r}).sample(2, {{}})": ("seed", 6),
    f"seedbed.load({A!r}).models_of({{}})": ("seeds", 6),
    f"seedbed.load({A!r}).figure({{}})": ("kind", 5),
    f"seedbed.load({A!r}).report({{}})": ("path", 5),
    f"seedbed.load({A!r}).compare({{}})": ("runs", 5),
    "evaluate(seedbed.load({}), Request())": ("run", 3),
    f"evaluate(seedbed.load({A!r}), {{}})": ("request", 4),
    "evaluate(seedbed.load('" + A + "'), Request(options={{'k': {}}}))": ("k", 6),
    "evaluate(seedbed.load('" + A + "'), Request(options={{'k': 2}}, examples={}))": ("examples", 5),
    "evaluate(seedbed.load('" + A + "'), Request(options={{'k': 2}}, memory_gib={}))": ("memory_gib", 5),
    "evaluate(seedbed.load('" + A + "'), Request(options={{'k': 2}}, split={}))": ("split", 4),
    "evaluate(seedbed.load('" + A + "'), Request(estimator={}))": ("estimator", 4),
}
# Whole calls: unknown keywords and arguments that are missing are Python's own to refuse.
CALLS: dict[str, Expected] = {
    "seedbed.run()": "refused",
    "seedbed.fit()": "refused",
    "seedbed.load()": "refused",
    "seedbed.compare()": "refused",
    "seedbed.certify()": "refused",
    "seedbed.run('toy/8gaussians/vae', nosuch=1)": "refused",
    "seedbed.run('toy/8gaussians/vae', lrr=1)": "refused",
    f"seedbed.fit({NET}, 'moons', loss={LOSS}, nosuch=1)": "refused",
    f"seedbed.fit({NET}, 'moons')": "refused",
    f"seedbed.fit({NET}, 'moons', loss={LOSS}, utility={LOSS})": "refused",
    f"seedbed.load({A!r}, nosuch=1)": "refused",
    f"seedbed.load({A!r}).nosuch": "either",
    f"seedbed.compare({A!r}, {A!r})": "refused",
    f"seedbed.compare(seedbed.load({A!r}), 'runs')": "refused",
    f"seedbed.load({A!r}).sample(2, 99)": "refused",
    f"seedbed.load({A!r}).models_of([0, 99])": "refused",
    f"seedbed.load({A!r}).models_of([])": "fine",
    f"seedbed.load({A!r}).report('x.pdf')": "refused",
    f"seedbed.load({A!r}).report({A + '/run.json'!r})": "refused",
    f"seedbed.load({A!r}).figure('nosuch')": "refused",
    f"seedbed.load({A!r}).sample(2)": "fine",
    f"seedbed.compare({A!r}, {B!r}).verdicts": "fine",
    "seedbed.data.load('nosuch')": "refused",
    "seedbed.data.load('moons', nosuch=1)": "refused",
    "as_dataset(np.full((40, 3), np.nan))": "refused",
    "as_dataset(np.random.default_rng(0).normal(size=(40, 3)) * 1e300)": "refused",
    "as_dataset(np.random.default_rng(0).normal(size=(40, 4, 4)) * 1e300)": "refused",
    "as_dataset(torch.zeros(40, 3, requires_grad=True) + torch.randn(40, 3))": "fine",
    "as_dataset(torch.randn(40, 3).to_sparse())": "either",
    "as_dataset(torch.empty(40, 3, device='meta'))": "refused",
    "as_dataset(torch.randn(40, 3, dtype=torch.bfloat16))": "either",
    "as_dataset(np.ma.masked_array(np.ones((40, 3)), mask=True))": "refused",
    "as_dataset({'train': np.zeros((9, 2)), 'nosuch': np.zeros((9, 2))})": "refused",
    "as_dataset({'test': np.zeros((9, 2))})": "refused",
    "as_dataset([[1.0, 2.0]] * 40)": "refused",
    "as_dataset(pd.DataFrame({'a': ['x', 'y'] * 9}))": "refused",
    "as_dataset(pd.DataFrame({'a': [1.0, None] * 9}))": "refused",
    "as_dataset(pd.DataFrame(np.zeros((9, 5000))))": "refused",
    "as_dataset(np.random.default_rng(0).normal(size=(40, 3)), nosuch=1)": "refused",
}


def calls(draw: random.Random) -> Iterator[Case]:
    """Every argument with some of what it is not, and calls that are wrong as a whole."""
    for call, (name, count) in PLACES.items():
        for odd in draw.sample(ODD, count):
            code = call.replace("{{", "\0").replace("}}", "\1").replace("{}", odd).replace("\0", "{").replace("\1", "}")
            trains = call.startswith(("seedbed.run", "seedbed.fit", "evaluate"))
            yield Case(
                kind="Python",
                what=f"{name} = {odd}: {code:.70}",
                code=code,
                prepare=examples,
                expects="either",
                trains=trains,
            )
    for code, expects in CALLS.items():
        yield Case(kind="Python", what=f"{code:.90}", code=code, prepare=examples, expects=expects)
