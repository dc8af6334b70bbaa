"""Six models that no family here is like: what the contract must carry, small and exact."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import seedbed
from seedbed.cli.main import main
from seedbed.core.context import Context
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import EvalNoise, Streams
from seedbed.core.stack import Stack
from seedbed.evaluate.likelihood import importance_sampling
from seedbed.evaluate.sequences import SequenceMeasure
from seedbed.experiments import find
from seedbed.runs.evaluate import Request, evaluate
from seedbed.train.learner import Learner

HERE = Path(__file__).parent
CPU = torch.device("cpu")
# name: (file.py:variable, what can be measured of it, what is refused)
WITNESSES = {
    "symmetric-bits": ("symmetric_bits.py:experiment", ("nll", "latents"), ("ais",)),
    "leapfrog": ("posteriors.py:leapfrogs", ("nll", "latents", "ais", "sw"), ()),
    "planar": ("posteriors.py:planar", ("nll", "latents", "ais", "sw"), ()),
    "spatial": ("spatial.py:experiment", ("nll", "latents", "ais"), ("sw",)),
    "spatial-dreg": ("spatial.py:dreg", ("nll",), ()),
    "batch-norm-gan": ("batch_norm_gan.py:experiment", ("sw",), ("nll", "ais")),
    "characters": ("characters.py:experiment", ("nll",), ("ais", "latents")),
    "one-latent": ("one_latent.py:experiment", (), ("nll", "ais")),
}
each = pytest.mark.parametrize("name", WITNESSES)
FAST = ("symmetric-bits", "leapfrog", "batch-norm-gan", "characters")


def declared(name: str, **settings):
    return find(f"{HERE / WITNESSES[name][0]}").with_config(settings)


def learner(name: str, seeds, **settings) -> Learner:
    experiment = declared(name, **{"precision": "fp64", **settings})
    streams = experiment.streams(list(seeds))
    return Learner(experiment.task(streams), streams, CPU)


def leaves(tree, prefix=""):
    """A nested dictionary of tensors on one level."""
    out = {}
    for key, value in tree.items():
        out |= leaves(value, f"{prefix}{key}/") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return out


@each
def test_a_stack_equals_each_seed_alone(name):
    together = learner(name, range(3))
    alone = [learner(name, [seed]) for seed in range(3)]
    for one in (together, *alone):
        for _ in range(6):
            one.advance()
    for part in ("params", "state", "average"):
        for key, stacked in leaves(getattr(together, part)).items():
            for row, one in enumerate(alone):
                own = leaves(getattr(one, part))[key][0]
                assert torch.allclose(stacked[row].double(), own.double(), atol=1e-9, rtol=1e-9), (part, key, row)


@each
def test_it_is_recorded_and_played_back_to_the_last_bit(name):
    plain, played = (learner(name, range(2), precision="fp32") for _ in range(2))
    for one, after in ((plain, 10_000), (played, 2)):
        for replay in one.replays.values():
            replay.after = after
        for _ in range(7):
            one.advance()
    assert all(replay.recorded and replay.played for replay in played.replays.values())
    for part in ("params", "state", "average", "optimizers"):
        expected, found = leaves(getattr(plain, part)), leaves(getattr(played, part))
        assert all(torch.equal(value, found[key]) for key, value in expected.items())


class Killed(BaseException):
    """Stands for a signal that no handler sees."""


def run_of(witness: str, out: Path, **options):
    return seedbed.run(f"{HERE / WITNESSES[witness][0]}", 3, out=out, threads=1, **options)


def stored(run) -> tuple[list, dict]:
    """All that a run left behind but its clock."""
    rows = [tuple(row.__dict__.values())[:-1] for row in run.folder.rows()]
    trees = [leaves(run.folder.latest(group)[0]) for group in run.manifest.groups]
    return rows, {f"{i}/{key}": value for i, tree in enumerate(trees) for key, value in tree.items()}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in FAST else pytest.mark.slow) for n in WITNESSES])
def test_a_killed_run_continues_bit_for_bit(name, tmp_path, monkeypatch):
    whole = run_of(name, tmp_path / "whole")
    steps = whole.experiment.training.steps
    advance = Learner.advance
    for death in (2, steps // 2 + 1, steps - 1):

        def dying(self, death=death):
            if self.step == death:
                raise Killed
            advance(self)

        monkeypatch.setattr(Learner, "advance", dying)
        with pytest.raises(Killed):
            run_of(name, tmp_path / "cut", checkpoint_seconds=1e-6)
    monkeypatch.setattr(Learner, "advance", advance)
    rows, tensors = stored(run_of(name, tmp_path / "cut", checkpoint_seconds=1e-6))
    expected_rows, expected = stored(whole)
    assert rows == expected_rows
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[key], value) for key, value in expected.items())


def strategies(names, strategies):
    slow = pytest.mark.slow
    return [
        pytest.param(n, s, marks=[] if n in FAST[::3] and s == "sequential" else slow, id=f"{n}-{s}")
        for n in names
        for s in strategies
    ]


@pytest.mark.parametrize(("name", "strategy"), strategies(WITNESSES, ("sequential", "processes")))
def test_strategies_compute_the_same(name, strategy, tmp_path):
    def final(strategy):
        run = run_of(name, tmp_path / strategy, strategy=strategy, precision="fp64")
        return {(r.seed, r.step, r.split, r.metric): r.value for r in run.folder.rows()}

    expected, found = final("vectorized"), final(strategy)
    assert expected.keys() == found.keys()
    assert all(value == pytest.approx(found[key], rel=1e-8, abs=1e-8) for key, value in expected.items())


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if "dreg" in n else []) for n in WITNESSES])
def test_it_goes_through_every_verb(name, tmp_path, capsys):
    path, measured, refused = WITNESSES[name]
    run = run_of(name, tmp_path, name="verbs")
    assert {row.metric for row in run.folder.rows() if row.split == "status"} == {"finished"}
    few = {"samples": 4}
    small = {"nll": few, "latents": few, "ais": {**few, "chains": 2, "temperatures": 3, "leapfrogs": 2}, "sw": {}}
    for metric in measured:
        rows = evaluate(run, Request(estimator=metric, examples=0 if name == "characters" else 8, options=small[metric]))
        assert rows and all(math.isfinite(row.value) for row in rows if "error" not in row.metric)
    for metric in refused:
        with pytest.raises(SeedbedError, match=f"has no estimator '{metric}'"):
            evaluate(run, Request(estimator=metric))
    draws = run.sample(5)
    assert draws.shape[:2] == (3, 5) and bool(torch.isfinite(draws.double()).all())
    assert torch.equal(draws, seedbed.load(run.path, run.experiment).sample(5))
    assert all(isinstance(model, torch.nn.Module) for model in run.models)
    with pytest.raises(SystemExit) as end:
        main(["report", str(run.path), "--out-file", str(tmp_path / "page.html")])
    assert end.value.code == 0, capsys.readouterr().err
    assert path.split(":")[1] in (tmp_path / "page.html").read_text(encoding="utf-8")


# --- the truth about each --------------------------------------------------------------------------------------------------


def trained(name: str, steps: int = 6) -> tuple[Learner, Stack]:
    one = learner(name, range(2))
    for _ in range(steps):
        one.advance()
    return one, one.stack()


def test_bits_are_summed_over_exactly():
    one, stack = trained("symmetric-bits")
    x = one.task.data.splits["test"][:4].double()
    bits = (torch.arange(32)[:, None] >> torch.arange(5) & 1).double()
    z = {"z0": bits[:, None, :2].expand(32, 4, 2), "z1": bits[:, None, 2:].expand(32, 4, 3)}
    for row in range(2):
        model, ctx = stack.model(row), Context.of(0)
        exact = model.joint(x, z, ctx).logsumexp(0)
        assert torch.allclose(model.proposal(x, ctx).log_q_at(z).exp().sum(0), torch.ones(4).double())
        found = importance_sampling(stack, x, "t", 4000)
        error = (1 / found["ess"][0][row] - 1 / 4000).clamp(min=0).sqrt()
        assert ((-found["nll_nats"][0][row] - exact).abs() < 4.5 * error + 1e-9).all()


def test_a_shared_module_is_one_module_and_belongs_to_the_longer_name():
    one, stack = trained("symmetric-bits")
    assert "encoder.down.weight" in one.shares.owned["decoder"]
    assert not any("down" in key for key in one.shares.owned["encoder"])
    model = stack.model(0)
    assert model.encoder["down"] is model.decoder["down"]
    game = one.task.game
    torn = replace(
        game, players=tuple(replace(p, owns=(p.name, *(("prior",) if p.name == "decoder" else ()))) for p in game.players)
    )
    with pytest.raises(SeedbedError, match=r"decoder\.down.*encoder\.down|encoder\.down.*decoder\.down"):
        torn.check(stack.slots.aliases)


@pytest.mark.parametrize("name", ["leapfrog", "planar"])
def test_weights_of_any_posterior_average_to_the_evidence(name):
    _, stack = trained(name)
    axis = torch.linspace(-8, 8, 801, dtype=torch.float64)
    z = {"z": torch.cartesian_prod(axis, axis)[:, None]}
    x = torch.tensor([[0.5, -1.0, 0.3], [2.0, 1.0, -0.5]], dtype=torch.float64)
    model = stack.model(1)
    exact = model.joint(x, z, Context.of(0)).logsumexp(0) + 2 * (axis[1] - axis[0]).log()
    noise = EvalNoise([Streams(4)], "weights", dtype=torch.float64)
    w = (model.proposal(x, Context(noise), 40_000).log_w - exact).exp().detach()
    assert ((w.mean(0) - 1).abs() < 4.5 * w.std(0) / len(w) ** 0.5).all()


def test_what_scores_its_own_draws_alone_is_not_asked_for_others():
    _, stack = trained("planar")
    x = torch.zeros(2, 3, dtype=torch.float64)
    from seedbed.evaluate.annealing import Annealing, annealed_importance_sampling
    from seedbed.objectives.bounds import iwae

    with pytest.raises(SeedbedError, match="cannot score a z that it did not draw"):
        annealed_importance_sampling(stack, x, "t", Annealing(chains=2, temperatures=2, leapfrogs=1, start="posterior"))
    with pytest.raises(SeedbedError, match="gradient='standard'"):
        iwae(3, "dreg")(stack.model(0), x, Context(EvalNoise([Streams(0)], "t", dtype=torch.float64)))


def test_batch_statistics_are_the_generators_and_evaluation_reads_them():
    one, _ = trained("batch-norm-gan", 0)
    begun = {key: value.clone() for key, value in one.state["modules"].items()}
    assert {key.split(".")[0] for key in begun} == {"generator"}
    for _ in range(3):
        one.advance()
    # Once a step, not at the critic's two updates, in which the generator draws as well.
    assert one.state["modules"]["generator.1.num_batches_tracked"].tolist() == [3, 3]
    assert not torch.equal(one.state["modules"]["generator.1.running_mean"], begun["generator.1.running_mean"])
    assert set(one.average) == {"generator"}
    model = one.stack().model(1)
    assert torch.equal(model.generator[1].running_mean, one.state["modules"]["generator.1.running_mean"][1])
    draws = model.sample(7, Context(EvalNoise([Streams(1)], "samples", dtype=torch.float64)))
    assert torch.allclose(model.sample(3, Context(EvalNoise([Streams(1)], "samples", dtype=torch.float64))), draws[:3])


def test_a_state_is_carried_like_one_long_pass():
    one = learner("characters", range(2))
    assert one.task.game.players[0].utility.resets == ("hidden",)
    windows, (player,) = one.task.batches.windows, one.state["players"]
    one.params = {key: value.clone() for key, value in one.params.items()}
    stack = one.stack()
    for _ in range(2):
        before = one.state["players"][player]["hidden"].clone()
        batch = one.task.batches(one.streams, one.step)
        after = Stack.call(
            Stack.replace(one.structure, {**one.fixed, **one.shares.named(one.params)}),
            lambda model, tokens, hidden, ctx: dict(model.logits(tokens[:, :-1], {"hidden": hidden}, ctx)[1]),
            batch,
            before,
            noise=stack.noise("eval"),
        )
        one.advance()
        assert torch.allclose(one.state["players"][player]["hidden"], after["hidden"], atol=1e-12)
    assert windows > 2


def test_tokens_are_scored_like_one_long_pass():
    """In windows as at once, each token given all before it; and the probabilities of all strings sum to one."""
    one = learner("characters", range(2))
    stack, data = one.stack(), one.task.data
    found = SequenceMeasure(data, window=7)(stack, "valid")["nll_nats"][0]
    tokens = data.splits["valid"][:]
    for row in range(2):
        model, ctx = stack.model(row), Context.of(0)
        logits, _ = model.logits(tokens[None, :-1], model.initial_state(1), ctx)
        expected = [-logits[0, t].log_softmax(-1)[tokens[t + 1]] for t in range(len(tokens) - 1)]
        assert torch.allclose(found[row], torch.stack(expected), atol=1e-10)
        size = data.domain.size
        pairs = torch.cartesian_prod(*[torch.arange(size)] * 2)
        start = torch.cat([torch.full((len(pairs), 1), model.start), pairs], 1)
        logits, _ = model.logits(start[:, :-1], model.initial_state(len(start)), ctx)
        string = logits.log_softmax(-1).gather(-1, start[:, 1:, None]).sum((1, 2))
        assert string.exp().sum().item() == pytest.approx(1, abs=1e-9)


def test_every_seed_has_a_step_size_of_its_own(tmp_path):
    run = run_of("characters", tmp_path, steps=60, eval_every=5, lr=0.1)
    factors = torch.stack([leaves(run.folder.latest(g)[0])["controls/model/factor"] for g in run.manifest.groups])
    assert len(set(factors.flatten().tolist())) > 1


def test_one_latent_finds_each_seeds_own_posterior(tmp_path):
    run = run_of("one-latent", tmp_path, steps=600, lr=0.1, precision="fp64")
    final = {row.seed: row.value for row in run.folder.rows() if row.split == "test" and row.metric == "gap_nats"}
    assert {row.metric for row in run.folder.rows() if row.split == "status"} == {"finished"}  # of one value each
    assert all(0 <= gap < 0.1 for gap in final.values()) and len(set(final.values())) == 3, final
    means = torch.stack([model.mean for model in run.models])
    assert torch.pdist(means.detach()).min() > 0.1
