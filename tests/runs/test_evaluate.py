"""`evaluate`, `--from` and `data`: numbers measured after training, weights taken from another run, files checked."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import seedbed
from seedbed.cli.main import main
from seedbed.core.errors import SeedbedError
from seedbed.core.metric import Metric
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.data import load
from seedbed.evaluate.estimate import draw_samples
from seedbed.evaluate.estimator import Estimator, Option
from seedbed.evaluate.estimators import ESTIMATORS, offered
from seedbed.evaluate.likelihood import importance_sampling
from seedbed.report.run_tables import summarise_run
from seedbed.report.stored import StoredRun
from seedbed.runs.evaluate import Request, evaluate
from seedbed.store.folder import Folder
from seedbed.train.start import start_from

IMAGES = {"steps": 6, "eval_every": 3, "batch_size": 16, "hidden": (8, 4), "latents": 2}
TOY = {"steps": 6, "eval_every": 3, "batch_size": 16, "hidden": (4, 4), "train_size": 400, "valid_size": 80, "eval_size": 80}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs of every kind, once."""
    out = tmp_path_factory.mktemp("trained")
    run = lambda name, tag, **settings: seedbed.run(name, seeds=2, out=out / "runs", name=tag, threads=1, **settings)
    run("digits/digits-binary/vae", "images", **IMAGES)
    run("toy/8gaussians/lvae", "ladder", lr=1e-4, **TOY)
    run("toy/8gaussians/flow", "flow", couplings=2, **TOY)
    run("toy/8gaussians/wgan-gp", "gan", **TOY)
    return out


@pytest.fixture
def work(trained, tmp_path, monkeypatch):
    """A folder of one's own with those runs."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(capsys, *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    out = capsys.readouterr()
    return int(stop.value.code or 0), out.out, out.err


def refused(capsys, *arguments: object) -> str:
    code, _, err = call(capsys, *arguments)
    assert code == 2 and len(err.strip().splitlines()) == 1, err
    return err


def folder(name: str) -> Folder:
    return Folder(next(Path("runs").rglob(f"{name}/run.json")).parent)


def test_the_likelihood_is_kept_with_the_run_and_not_measured_again(capsys, work, monkeypatch):
    code, first, _ = call(capsys, "evaluate", "images", "-k", 60, "--threads", 1, "-q")
    assert code == 0 and "nll_nats" in first and "neg_iw50_nats" in first
    own = folder("images")
    table = own.evaluation("nll-test-k60")
    rows = {(row.seed, row.metric): row for row in table.read()}
    metrics = ["neg_iw1_nats", "neg_iw5_nats", "neg_iw50_nats", "neg_iw60_nats", "nll_nats", "ess", "ess_min"]
    assert list(rows) == [(seed, metric) for metric in metrics for seed in (0, 1)]
    run = seedbed.load(own.path)
    ((_, stack),) = run.stacks()
    x = load("digits-binary").splits["test"][:]
    direct = importance_sampling(stack, x, "test", 60)["nll_nats"][0]
    for seed in (0, 1):
        row = rows[seed, "nll_nats"]
        assert (row.value, row.n, row.step, row.split) == (pytest.approx(float(direct[seed].mean())), 270, 6, "test")
        assert row.se == pytest.approx(float(direct[seed].std()) / 270**0.5)
    note = json.loads(table.path.with_suffix(".json").read_text())["0,1"]
    assert note["samples"] == 60 and note["threads"] == 1 and note["command"]
    assert {"nll_nats", "neg_elbo_nats"} <= {row.metric for row in summarise_run(own)}
    seconds = [row.seconds for row in summarise_run(own)]
    assert seconds[0] == max(row.wall_s for row in own.table([0, 1]).read())  # the clock is training's

    monkeypatch.setattr("seedbed.runs.evaluate._measured", lambda *a: pytest.fail("measured again"))
    assert call(capsys, "evaluate", "images", "-k", 60, "-q")[:2] == (0, first)
    monkeypatch.undo()
    monkeypatch.chdir(work)
    stamp = table.path.stat().st_mtime_ns
    assert call(capsys, "evaluate", "images", "-k", 60, "-q", "--again")[:2] == (0, first)
    assert table.path.stat().st_mtime_ns > stamp


def test_an_evaluated_run_is_recorded_by_one_command(capsys, work):
    own = folder("images")
    flags = ["digits", "-k", 60, "--name", "images", "-q", "--record"]
    code, _, err = call(capsys, "evaluate", *flags)
    assert code == 0 and "wrote results/digits.json" in err
    rows = {row["metric"]: row for row in json.loads(Path("results/digits.json").read_text())["rows"]}
    assert {metric: row["k"] for metric, row in rows.items()} == {
        "neg_iw1_nats": 1,
        "neg_iw5_nats": 5,
        "neg_iw50_nats": 50,
        "neg_iw60_nats": 60,
        "nll_nats": 60,
    }
    (shown,) = [row for row in summarise_run(own) if row.metric == "nll_nats"]
    assert rows["nll_nats"]["mean"] == pytest.approx(shown.mean, abs=1e-6) and rows["nll_nats"]["status"] == "measured"
    for more in (["--split", "valid"], ["--examples", 9]):
        assert "of the whole test split" in refused(capsys, "evaluate", *flags, *more)
    assert "smoke run is no result" in refused(capsys, "evaluate", *flags, "--budget", "smoke")
    # Training's own numbers go beside them.
    flags = ["--steps", 6, "--eval-every", 3, "--batch-size", 16, "--hidden", "8,4", "--latents", 2, "-n", 2, "-q"]
    assert call(capsys, "run", "digits", "--name", "images", *flags, "--record")[0] == 0
    rows = {row["metric"]: row for row in json.loads(Path("results/digits.json").read_text())["rows"]}
    assert len(rows) == 7 and rows["neg_elbo_nats"]["k"] is None and "ess" not in rows
    # What it says trains just this: the same settings, wherever the preset goes.
    command = rows["neg_elbo_nats"]["command"]
    assert "-n 2 " in command and "--hidden 8,4" in command and "--lr" not in command
    code, _, err = call(capsys, *command.split()[1:], "--out", "again", "-q")
    assert code == 0, err
    assert next(Path("again").rglob("run.json")).parent.name == folder("images").manifest().hash


def test_more_effort_counts_and_new_seeds_are_added(capsys, work):
    for more in (["-k", 20], ["-k", 7], ["-k", 30, "--examples", 9], ["-k", 20, "--precision", "bf16"]):
        assert call(capsys, "evaluate", "images", "-q", *more)[0] == 0
    own = folder("images")
    names = {path.stem for path in (own.path / "evaluations").glob("*.csv")}
    assert names == {"nll-test-k20", "nll-test-k7", "nll-test-k30-n9", "nll-test-k20-bf16"}
    best = {row.seed: row.value for row in own.evaluation("nll-test-k20").read() if row.metric == "nll_nats"}
    (shown,) = [row for row in summarise_run(own) if row.metric == "nll_nats"]
    assert shown.mean == pytest.approx(sum(best.values()) / 2) and shown.n == 270
    seedbed.run("digits/digits-binary/vae", seeds=3, out="runs", name="images", threads=1, **IMAGES)
    before = own.evaluation("nll-test-k7").read()
    assert call(capsys, "evaluate", "images", "-q", "-k", 7)[0] == 0
    after = own.evaluation("nll-test-k7").read()
    assert after[: len(before)] == before and {row.seed for row in after[len(before) :]} == {2}


def test_measuring_anew_keeps_the_old_numbers_until_there_are_others(capsys, work, monkeypatch):
    assert call(capsys, "evaluate", "images", "-q", "-k", 8)[0] == 0
    path = folder("images").evaluation("nll-test-k8").path
    before = path.read_text()

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("seedbed.runs.evaluate._measured", interrupted)
        assert call(capsys, "evaluate", "images", "-q", "-k", 8, "--again")[0] != 0
    assert path.read_text() == before
    assert call(capsys, "evaluate", "images", "-q", "-k", 8, "--again")[0] == 0
    assert path.read_text() == before  # the same draws, once


def test_a_model_without_annealing_is_measured_with_the_samples_that_are_asked_for(capsys, work):
    tiny = {"steps": 2, "eval_every": 2, "batch_size": 16, "data": "digits-binary", "width": 2, "depth": 1, "growth": 2}
    seedbed.run("image-flow", seeds=1, out="runs", name="bits", threads=1, couplings=(0, 1), **tiny)
    for k in (2, 3):
        assert call(capsys, "evaluate", "bits", "-q", "-k", k, "--examples", 5)[0] == 0
    stored = folder("bits").evaluation("nll-test-k3-n5").read()
    assert {row.metric for row in stored} >= {"neg_iw3_nats"} and folder("bits").evaluation("nll-test-k2-n5").read()


def test_every_model_is_measured_by_what_it_has(capsys, work):
    assert call(capsys, "evaluate", "ladder", "-k", 5, "-q", "--split", "valid")[0] == 0
    rows = folder("ladder").evaluation("nll-valid-k5").read()
    assert {row.split for row in rows} == {"valid"} and {row.metric for row in rows} >= {"neg_iw5_nats", "nll_nats"}
    assert call(capsys, "evaluate", "flow", "-q")[0] == 0
    flow = folder("flow")
    exact = {(row.seed, row.metric): row.value for row in flow.evaluation("nll-test").read()}
    trained = {(row.seed, row.metric): row.value for row in flow.table([0, 1]).read() if row.split == "test"}
    assert exact == pytest.approx(trained)
    said = refused(capsys, "evaluate", "gan")
    assert "no estimator 'nll'" in said and "sw (sliced Wasserstein" in said
    assert call(capsys, "evaluate", "gan", "--metric", "sw", "-q")[0] == 0
    assert call(capsys, "evaluate", "toy", "-m", "lvae", "-k", 3, "--examples", 4, "-q")[0] == 0


def test_a_second_opinion_and_the_use_of_latents_are_rows_like_any_other(capsys, work):
    quick = ["-q", "--examples", 12, "--threads", 1]
    flags = ["--metric", "ais", "--chains", 3, "--temperatures", 8, "--leapfrogs", 2, "-k", 40, *quick]
    code, out, err = call(capsys, "evaluate", "images", *flags)
    assert code == 0 and "ais_minus_is_nats" in out, err
    own = folder("images")
    rows = {(row.seed, row.metric): row for row in own.evaluation("ais-test-c3-t8-l2-k40-n12").read()}
    for seed in (0, 1):
        ais, difference = rows[seed, "nll_ais_nats"], rows[seed, "ais_minus_is_nats"]
        assert ais.n == difference.n == 12 and rows[seed, "ais_error_nats"].value > 0
        x = load("digits-binary").splits["test"][::22][:12]
        ((_, stack),) = seedbed.load(own.path).stacks()
        plain = importance_sampling(stack, x, "test", 40)["nll_nats"][0][seed].mean().item()
        assert ais.value - difference.value == pytest.approx(plain, abs=1e-4)
    assert call(capsys, "evaluate", "images", *flags, "--start", "posterior")[0] == 0
    assert own.evaluation("ais-test-c3-t8-l2-q-k40-n12").read()
    assert "chains must be at least 2, got 1" in refused(capsys, "evaluate", "images", *flags, "--chains", 1)
    assert "measured in fp32" in refused(capsys, "evaluate", "images", *flags, "--precision", "bf16")
    assert "it has: nll (exact" in refused(capsys, "evaluate", "flow", *flags)

    assert call(capsys, "evaluate", "images", *flags, "--record")[0] == 0  # takes too long for a whole split
    rows = {row["metric"]: row for row in json.loads(Path("results/digits.json").read_text())["rows"]}
    assert rows["ais_minus_is_nats"]["n"] == 12 and "12 examples, evenly spread" in rows["ais_minus_is_nats"]["protocol"]

    says = refused(capsys, "evaluate", "ladder", "--metric", "latents", "-k", 5000, "--memory-gib", 1e-4)
    assert "5000 samples of one example take" in says and "fit: lower --samples or raise --memory-gib" in says
    for limit, must in (("nan", "a finite number, above 0"), (0, "above 0")):
        assert f"memory in GiB must be {must}" in refused(capsys, "evaluate", "ladder", "--memory-gib", limit)
    code, out, err = call(capsys, "evaluate", "ladder", "--metric", "latents", "-q", "--split", "valid")
    assert code == 0 and "active_units_z1" in out and "kl_z1_0_nats" not in out, err
    rows = folder("ladder").evaluation("latents-valid-k20").read()
    mean = {(row.seed, row.metric): row.value for row in rows if row.split == "valid"}
    units = {(row.seed, row.metric): row for row in rows if row.split == "valid/units"}
    low = [layer for layer in ("z1", "z2") if any(mean[seed, f"kl_{layer}_nats"] < 0.1 for seed in (0, 1))]
    assert [layer for layer in ("z1", "z2") if f"layer {layer} has collapsed" in out] == low
    assert mean[0, "rate_nats"] == pytest.approx(mean[0, "kl_z1_nats"] + mean[0, "kl_z2_nats"], rel=1e-5)
    own_units = [row.value for (seed, name), row in units.items() if seed == 0 and name.startswith("kl_z2_")]
    assert sum(own_units) == pytest.approx(mean[0, "kl_z2_nats"], rel=1e-5)
    assert all(row.n == (80 if name.startswith("kl") else 1) for (_, name), row in units.items())
    assert (
        json.loads(folder("ladder").evaluation("latents-valid-k20").path.with_suffix(".json").read_text())["0,1"]["samples"]
        == 20
    )


def test_training_images_that_are_drawn_anew_are_measured_at_one_draw(capsys, work):
    from seedbed.runs.evaluate import _part

    data = load("digits-binary")
    assert data.view is not None
    x, few = (_part(data, Request(estimator="latents", split="train", examples=n)).splits["train"][:] for n in (0, 200))
    greys = data.splits["train"][:]
    assert x.shape == greys.shape and ((x == 0) | (x == 1)).all() and len(few) == 200
    assert torch.equal(x, _part(data, Request(estimator="latents", split="train")).splits["train"][:])
    error = (greys * (1 - greys)).sum().sqrt() / greys.numel()
    assert abs((x - greys).mean()) < 4 * error and error < 0.01
    assert call(capsys, "evaluate", "images", "-q", "--metric", "latents", "--split", "train", "--examples", 80)[0] == 0


def test_what_cannot_be_measured_is_one_line(capsys, work):
    for flags, says in (
        (["--metric", "frechet"], "it has: nll"),
        (["--split", "tset"], "did you mean 'test'"),
        (["-k", 0], "samples must be at least 1, got 0"),
        (["--examples", 0], "examples must be at least 1"),
        (["--memory-gib", 1e-3, "-k", 10_000_000], "k = 10000000 needs"),
        (["--device", "tpu"], "device must be auto"),
    ):
        assert says in refused(capsys, "evaluate", "images", "-q", *flags)
    assert not (folder("images").path / "evaluations").exists()
    assert "did you mean" in refused(capsys, "evaluate", "digitz")
    # Half-written: what a killed run leaves.
    own = folder("ladder")
    table = own.table([0, 1])
    table.cut(3)
    assert call(capsys, "evaluate", "ladder", "-q", "-k", 2)[0] == 0  # a checkpoint has the rows that the table has lost
    for path in folder("ladder").path.rglob("*.safetensors"):
        path.unlink()
    assert "is not finished" in refused(capsys, "evaluate", "ladder")
    double = seedbed.run("digits/digits-binary/vae", seeds=1, out="runs", name="fp64", precision="fp64", **IMAGES)
    assert "is in fp64" in refused(capsys, "evaluate", "fp64", "--precision", "bf16")
    assert evaluate(double, Request(options={"samples": 3}, examples=5))[0].n == 5


def test_estimators_of_foreign_modules():
    assert offered(Stack.of([torch.nn.Linear(2, 2)], [Streams(0)]), torch.zeros(1, 64)) == {}


def test_a_warm_start_begins_where_the_other_run_ended(capsys, work):
    own = folder("images")
    settings = {**IMAGES, "lr": 0.0, "steps": 1, "eval_every": 1}
    warm = seedbed.run("digits/digits-binary/vae", seeds=[1, 0], out="runs", name="w", warm_start=str(own.path), **settings)
    for a, b in zip(warm.models, seedbed.load(own.path).models, strict=True):
        assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert warm.manifest.config["warm_start"] == str(own.path)
    assert "warm_start" not in seedbed.load(own.path).manifest.config  # cold runs keep their hashes
    # On the command line by name, one seed after the other, and continued.
    flags = ["-n", 2, "-q", "--threads", 1, "--batch-size", 16, "--hidden", "8,4", "--latents", 2, "--steps", 1]
    flags += ["--lr", 0, "--strategy", "sequential", "--name", "p", "--from", "images"]
    code, out, err = call(capsys, "run", "digits/digits-binary/vae", *flags)
    assert code == 0, err
    assert call(capsys, "run", "digits/digits-binary/vae", *flags)[1] == out
    last = lambda f: {r.seed: r.value for r in f.rows() if r.split == "test" and r.metric == "neg_elbo_nats"}
    assert last(folder("p")) == pytest.approx(last(own), rel=1e-6)


def test_a_start_that_does_not_fit_is_refused_before_anything_is_written(capsys, work):
    def start(source: str, *flags: object) -> str:
        tiny = ["--hidden", "8,4", "--latents", 2, "--steps", 1, "-q", "--name", "x"]
        return refused(capsys, "run", "digits/digits-binary/vae", *tiny, "--from", source, "-n", 2, *flags)

    said = start("images", "--latents", 3)
    assert "encoder.layers.2.weight is [6, 4] here and [4, 4] there" in said
    assert "has a parameter" in start("flow")
    assert "has no seed 2" in start("images", "-n", 3)
    assert "unknown run" in start("nowhere")
    assert "means 4 runs" in start("runs")
    assert not list(Path("runs").rglob("x"))


def test_a_start_with_another_buffer_is_refused():
    class Masked(torch.nn.Linear):
        def __init__(self, mask):
            super().__init__(2, 2)
            self.register_buffer("mask", torch.tensor(mask))

    own, other = Masked([1.0, 0.0]), Masked([0.0, 1.0])
    with pytest.raises(SeedbedError, match="mask, which is not trained, differs; use the same seeds"):
        start_from(own, other.state_dict())
    start_from(own, Masked([1.0, 0.0]).state_dict() | {"weight": other.weight, "bias": other.bias})
    assert torch.equal(own.weight, other.weight) and torch.equal(own.bias, other.bias)


def test_data_verbs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEDBED_DATA", "")  # --data-dir sets it
    monkeypatch.setenv("SEEDBED_CACHE", str(tmp_path))
    assert "mnist-static" in (out := call(capsys, "data", "list")[1]) and "3 files" in out
    code, out, _ = call(capsys, "data", "check", "mnist-static", "8gaussians")
    assert code == 1 and "not found; run `seedbed data fetch mnist-static`" in out and "8gaussians: needs no file" in out
    assert call(capsys, "data", "check", "digits")[0] == 0
    assert call(capsys, "data", "fetch", "digits")[1] == "digits: needs no file\n"
    wrong = tmp_path / "MNIST/raw/train-images-idx3-ubyte.gz"
    wrong.parent.mkdir(parents=True)
    wrong.write_bytes(b"not it")
    code, out, _ = call(capsys, "data", "check", "mnist", "--data-dir", tmp_path)
    assert code == 1 and f"{wrong} is not the expected file (SHA-256 expected 440fcabf" in out
    assert "is not the expected file" in refused(capsys, "data", "fetch", "mnist")
    assert "did you mean 'mnist'" in refused(capsys, "data", "fetch", "mnit")
    assert "is not the expected file" in refused(capsys, "run", "mnist/mnist-dynamic/vae", "--data-dir", tmp_path, "-n", 1)


def test_unfinished_python_face(work):
    run = seedbed.load(folder("images").path)
    with pytest.raises(SeedbedError, match="unknown split"):
        evaluate(run, Request(split="all"))


def norm_of_draws(offers=lambda stack, x: True, **changes):
    """All of one more estimator: how far draws lie from the origin, of which more is better."""

    def measure(stack, data, split, limits, *, draws):
        x = draw_samples(stack, lambda model, count, ctx: model.sample(count, ctx), draws)
        return {"norm_of_draws": (x.norm(dim=-1), "data units"), "units/norm_0": (x[..., 0].abs(), "data units")}

    far = Metric("norm_of_draws", "data units", "mean norm of draws", "higher", low=0.0)
    part = Metric("units/norm_<i>", "data units", "of one component", None)
    settings = {"name": "far", "meaning": "norm of draws", "needs": "draws", "metrics": (far, part), "measure": measure}
    options = (Option(name="draws", default=50, least=1, help="per seed"),)
    return Estimator(**{**settings, "offers": offers, "options": options, **changes})


def test_one_more_estimator_goes_through_every_verb_with_its_direction(capsys, work):
    for name in ("ladder", "flow"):
        rows = evaluate(seedbed.load(folder(name).path), Request(estimator=norm_of_draws(), options={"draws": 20}))
        assert [(row.seed, row.split, row.metric, row.unit, row.n) for row in rows] == [
            (seed, split, metric, "data units", 20)
            for split, metric in (("test", "norm_of_draws"), ("test/units", "norm_0"))
            for seed in (0, 1)
        ]
        assert folder(name).evaluation("far-test-draws20").read() == rows
        ((_, stack),) = seedbed.load(folder(name).path).stacks()
        drawn = draw_samples(stack, lambda model, count, ctx: model.sample(count, ctx), 20)
        assert [row.value for row in rows[:2]] == pytest.approx(drawn.norm(dim=-1).mean(1).tolist())
    code, out, err = call(capsys, "compare", "ladder", "flow", "--metric", "norm_of_draws")
    assert code == 0 and "by norm_of_draws (higher is better)" in out, err
    values = {
        name: [r.value for r in folder(name).evaluated() if r.metric == "norm_of_draws"] for name in ("ladder", "flow")
    }
    best = max(values, key=lambda name: sum(values[name]))
    first = next(line for line in out.splitlines() if line.startswith("8gaussians"))
    assert first.split()[1] == {"ladder": "lvae", "flow": "flow"}[best]
    assert call(capsys, "report", "ladder", "flow", "--metric", "norm_of_draws", "--out-file", "r.html")[0] == 0
    assert "norm_of_draws (higher is better)" in Path("r.html").read_text()
    assert "explains a result" in refused(capsys, "compare", "ladder", "--metric", "kl_nats")
    # Damaged, it is said: a table with a metric that nobody declares would be judged the wrong way round.
    note = folder("flow").evaluation("far-test-draws20").path.with_suffix(".json")
    note.write_text(note.read_text()[:-9])
    assert "far-test-draws20.json is damaged" in refused(capsys, "compare", "ladder", "flow")


def test_an_estimator_of_ones_own_is_refused_in_one_line(work):
    run = seedbed.load(folder("flow").path)

    def fails(stack, data, split, limits, *, draws):
        raise ValueError("no such thing")

    for request, says in (
        (lambda: Request(estimator=norm_of_draws(name="nll")), "nll is an estimator of Seedbed; give your own another name"),
        (lambda: Request(estimator=norm_of_draws(), options={"samples": 3}), "far has no option 'samples', it is one of"),
        (lambda: Request(estimator=norm_of_draws(), options={"draws": 0}), "draws must be at least 1"),
        (lambda: Request(estimator=norm_of_draws(offers=lambda stack, x: False)), "does not offer what far needs: draws"),
        (lambda: Request(estimator=norm_of_draws(measure=fails)), "estimator 'far' does not run: ValueError: no such thing"),
        (lambda: Request(estimator=norm_of_draws(metrics=())), "returned norm_of_draws in data units and declares no such"),
    ):
        with pytest.raises(SeedbedError, match=says):
            evaluate(run, request())
    assert not folder("flow").evaluated()


def test_a_flag_that_the_estimator_does_not_have_is_refused(capsys, work):
    says = "nll has no option 'chains', it is one of ais; it has: samples"
    assert says in refused(capsys, "evaluate", "images", "--chains", 3)
    assert "sw has no option 'samples'" in refused(capsys, "evaluate", "gan", "--metric", "sw", "-k", 3)
    # Of a study some models have it: the exact ones need no samples.
    assert call(capsys, "evaluate", "flow", "-k", 3, "-q")[0] == 0
    assert folder("flow").evaluation("nll-test").read()


def test_help_says_what_there_is(capsys):
    code, out, _ = call(capsys, "evaluate", "--help")
    assert code == 0
    for one in ESTIMATORS:
        assert f"  {one.name:8} {one.meaning}" in out and f"needs {one.needs}" in out
        assert all(f"--{option.name.replace('_', '-')} " in out for option in one.options)
    assert "[5000]; of latents: draws of z per example [20]" in " ".join(out.split())


def test_a_run_evaluated_before_notes_declared_anything_is_read(capsys, work):
    """Its likelihoods are told apart by what stands beside them: the effective sample size of a bound."""
    for name, flags in (("ladder", ["-k", 5]), ("flow", [])):
        assert call(capsys, "evaluate", name, "-q", *flags)[0] == 0
    for note in Path("runs").rglob("evaluations/*.json"):
        old = {group: {"metric": "nll", "samples": 5, "chains": 16} for group in json.loads(note.read_text())}
        note.write_text(json.dumps(old))
    kinds = {name: StoredRun.read(folder(name).path).declared("nll_nats").kind for name in ("ladder", "flow")}
    assert kinds == {"ladder": "upper bound", "flow": "exact"}
    code, out, _ = call(capsys, "compare", "ladder", "flow", "--metric", "nll_nats")
    assert (
        code == 0 and "the numbers of flow (nll_nats) are exact, those of lvae (nll_nats) upper bounds on -log p(x)" in out
    )
