"""The Python face: what there is, models called by hand, runs without their data, and what a notebook shows."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import seedbed
from seedbed.core.capabilities import HasLogProb, HasSample, LatentVariable, Layer
from seedbed.core.domain import BINARY, REAL, Domain
from seedbed.distributions.normal import DiagonalNormal
from seedbed.experiments.models import VAE
from seedbed.experiments.objectives import Elbo
from seedbed.runs.weights import Absent, NeedsData, bare_task

SMALL = {"steps": 2, "eval_every": 2, "batch_size": 8, "threads": 1}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "t.npy"
    np.save(path, np.random.default_rng(0).normal(3.0, 2.0, (60, 3)).astype("f4"))
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory, table):
    """A bound and an exact likelihood on a table that is not there any more."""
    out = tmp_path_factory.mktemp("runs")
    place = table.rename(table.with_name("now.npy"))
    np.save(table, np.load(place))
    made = [seedbed.run(name, data=f"array:{table}", seeds=5, out=out, **SMALL) for name in ("vae", "flow")]
    draws = [run.sample(4) for run in made]
    table.unlink()
    return [seedbed.load(run.path) for run in made], draws


# ------------------------------------------------------------------------------------------------------------- what there is


def test_dir_tells_what_there_is_and_all_of_it_is_there():
    assert {"run", "load", "compare", "Experiment", "Training", "LatentVariable", "data", "Context"} <= set(dir(seedbed))
    assert dir(seedbed) == sorted(dir(seedbed)) and all(getattr(seedbed, name) is not None for name in dir(seedbed))
    with pytest.raises(AttributeError, match="no attribute 'trian'; it has Comparison, "):
        getattr(seedbed, "tr" + "ian")
    code = "import sys, seedbed; dir(seedbed); assert not {'torch', 'pandas', 'matplotlib'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ---------------------------------------------------------------------------------------------------------- models by hand


class Mine(nn.Module, LatentVariable):
    """A user's own, that knows nothing of calls without a context."""

    domain = REAL

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(2, 2)

    def layers(self, x, ctx):
        z = yield Layer("z", DiagonalNormal(torch.zeros(2), torch.zeros(2)), None)
        return DiagonalNormal(self.net(z), torch.zeros(2))


class Line(nn.Module, HasLogProb, HasSample):
    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

    def log_prob(self, x, context):
        return -((x[:, 0] - self.mean) ** 2)

    def sample(self, count, context, scale=1.0):
        return self.mean + scale * context.noise.normal((1,), batch=count)


class WithoutContext(Mine):
    def log_prob(self, x):
        return -x.square().sum(-1)


def test_a_method_that_takes_no_context_is_given_none():
    x = torch.linspace(-1, 1, 6).view(2, 3)
    assert torch.equal(WithoutContext().log_prob(x), -x.square().sum(-1))


def test_a_model_called_by_hand_draws_the_fixed_stream_of_a_seed():
    model = Mine()
    assert torch.equal(model.sample(7), model.sample(7, seedbed.Context.of(0)).detach())
    assert torch.equal(model.sample(7, seed=3), model.sample(7, seedbed.Context.of(3)).detach())
    assert not torch.equal(model.sample(7), model.sample(7, seed=3)) and not model.sample(7).requires_grad
    assert model.sample(7, seedbed.Context.of(0)).requires_grad  # whoever hands a context decides


def test_it_is_in_the_models_precision_and_keeps_its_other_arguments():
    model = Line()
    draws = model.sample(5, scale=0.0)
    assert draws.dtype == torch.float64 and torch.equal(draws, torch.full((5, 1), 0.5, dtype=torch.float64))
    assert torch.equal(model.sample(5, context=seedbed.Context.of(0), scale=0.0), draws.float())
    density = model.log_prob(draws)
    assert density.requires_grad and torch.equal(density, torch.zeros(5))
    with pytest.raises(seedbed.SeedbedError, match="takes a context or a seed, not both"):
        model.sample(5, seedbed.Context.of(0), seed=1)
    with pytest.raises(seedbed.SeedbedError, match="seed must be at least 0, got -1"):
        model.sample(5, seed=-1)


def test_a_class_that_lacks_a_method_is_still_abstract():
    class Half(nn.Module, HasSample):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Half()


# ----------------------------------------------------------------------------------------------------------- without data


def test_weights_are_enough(runs):
    for run, draws in zip(*runs, strict=True):
        assert torch.equal(run.sample(4), draws) and run.models[0].sample(3).shape == (3, 3)
        with pytest.raises(seedbed.SeedbedError, match="no such file"):
            run.experiment.data.load()


def test_a_copied_folder_is_a_run(runs, tmp_path):
    import shutil

    run = seedbed.load(shutil.copytree(runs[0][0].path, tmp_path / "elsewhere"))
    assert torch.equal(run.sample(4), runs[1][0])


def test_a_model_that_reads_its_data_says_so_rather_than_guess():
    class Peeks(VAE):
        """Takes a constant from the data, which no checkpoint has."""

        starts_only = False

    experiment = seedbed.Experiment(seedbed.Examples("8gaussians"), Peeks(), Elbo(), seedbed.Training())
    known = {"name": "x", "domain": "real", "shape": [2]}
    with pytest.raises(NeedsData, match="the data are not there"):
        bare_task(experiment, known).build()
    assert bare_task(seedbed.Experiment(experiment.data, VAE(), Elbo(), seedbed.Training()), known).build() is not None
    with pytest.raises(NeedsData, match="the manifest does not say"):
        bare_task(experiment, {"name": "x"})


def test_what_is_absent_is_known_by_its_shape_alone():
    source = Absent((3,), torch.float32)
    assert source.shape == (3,) and source.map(torch.exp).to(torch.device("cpu")) is source
    for ask in (lambda: len(source), lambda: source.gather(torch.zeros(1).long()), source.digest):
        with pytest.raises(NeedsData):
            ask()


@pytest.mark.parametrize("domain", [REAL, BINARY, Domain("levels", 256), Domain("tokens", 27)])
def test_a_domain_is_read_as_it_is_written(domain):
    assert Domain.parse(str(domain)) == domain


@pytest.mark.parametrize("text", ["", "reals", "levels[x]", "binary]", "levels[256"])
def test_no_other_text_is_a_domain(text):
    with pytest.raises(seedbed.SeedbedError, match="expected a domain"):
        Domain.parse(text)


# ------------------------------------------------------------------------------------------------------------- comparisons


def test_runs_are_compared_in_python_as_in_the_shell(runs, capsys):
    from seedbed.cli.main import main

    (vae, flow), _ = runs
    found = vae.compare(flow)
    assert str(found) == str(seedbed.compare(vae.path, str(flow.path)))
    with pytest.raises(SystemExit):
        main(["compare", str(vae.path), str(flow.path)])
    assert capsys.readouterr().out == f"{found}\n"
    (pair,) = found.verdicts.to_dict("records")
    assert {pair["kind_a"], pair["kind_b"]} == {"exact", "upper bound"} and pair["metric"] == "-log p(x)"


def test_what_cannot_be_compared_is_one_line(runs, tmp_path):
    (vae, flow), _ = runs
    with pytest.raises(seedbed.SeedbedError, match="one run is nothing to compare"):
        seedbed.compare(vae)
    with pytest.raises(seedbed.SeedbedError, match="did you mean 'nll_nats'"):
        vae.compare(flow, metric="nll_nat")
    with pytest.raises(seedbed.SeedbedError, match="is no run folder"):
        vae.compare(tmp_path)
    with pytest.raises(seedbed.SeedbedError, match="did you mean 'curves'"):
        vae.figure("curve")
    with pytest.raises(seedbed.SeedbedError, match="expected a name that ends in"):
        vae.report(tmp_path / "page.pdf")


def test_a_notebook_is_shown_text_and_never_markup(runs, tmp_path):
    import shutil
    from dataclasses import replace

    evil = "<script>alert(1)</script>"
    run = seedbed.load(shutil.copytree(runs[0][0].path, tmp_path / "copy"))
    replace(run.manifest, experiment=evil).write(run.path)
    text = seedbed.Run(run.folder, run.experiment)._repr_html_()
    assert "<script>" not in text and text.count("&lt;script&gt;") > 1 and "5 seeds: 5 finished" in text
