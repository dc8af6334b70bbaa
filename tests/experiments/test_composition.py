"""Experiments as data x model x objective x training: names, hashes, types, and that every flag has a say."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import seedbed
from seedbed import data
from seedbed.cli.main import main
from seedbed.cli.options import common
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Noise, Streams
from seedbed.data.own import from_arrays
from seedbed.evaluate.pictures import images, points
from seedbed.experiments import EXPERIMENTS, MODELS, check_names, find, usual
from seedbed.experiments.data import Examples, Points
from seedbed.experiments.experiment import PARTS, Experiment, hashed_by
from seedbed.experiments.fields import RESERVED, field_types, option
from seedbed.experiments.model import ObservedModel
from seedbed.experiments.models import VAE
from seedbed.experiments.objectives import Elbo
from seedbed.experiments.training import Training
from seedbed.runs import execute
from seedbed.store.manifest import config_hash

# Of every registered experiment at `laptop` and `full`: as they were before experiments were composed.
HASHES = json.loads(Path(__file__).with_name("hashes.json").read_text())


def test_the_hashes_of_all_registered_settings_stay():
    found = {
        name: [config_hash(name, experiment.with_budget(budget).config()) for budget in ("laptop", "full")]
        for name, experiment in EXPERIMENTS.items()
    }
    assert len(HASHES) == 185 and {name: found[name] for name in HASHES} == HASHES


def test_a_setting_that_came_later_enters_the_hash_where_it_is_changed():
    vae = EXPERIMENTS["toy/8gaussians/vae"]
    assert "norm" not in vae.config() and vae.with_config({"norm": False}).config() == vae.config()
    assert vae.with_config({"norm": True}).config() == {**vae.config(), "norm": True}
    # What a first hash counted that has no say any more: still counted, no flag, and refused with another value.
    draw = EXPERIMENTS["mnist-convergence/mnist-dynamic/draw"]
    assert draw.config()["activation"] == "tanh" and "activation" not in draw.settings
    assert draw.with_config({"activation": "tanh"}) == draw
    with pytest.raises(SeedbedError, match="activation has no say in DRAW"):
        draw.changed({"activation": "relu"})
    # An older run that was given one is still what it was called, so that its folder opens.
    assert draw.with_config({"activation": "relu"}).config() == {**draw.config(), "activation": "relu"}
    conv = EXPERIMENTS["vae-static/mnist-static/conv-20epochs"]
    assert conv.config()["hidden"] == [300, 300] and not {"hidden", "activation"} & set(conv.settings)


def test_settings_come_back_from_what_a_run_folder_holds():
    for experiment in EXPERIMENTS.values():
        stored = json.loads(json.dumps(experiment.config(), default=list))
        assert experiment.with_config(stored).config() == experiment.config()


def test_a_name_means_one_type():
    check_names({})

    @dataclass(frozen=True, kw_only=True)
    class Other(VAE):
        coupling: float = option(1.0, "strength")

    given = Experiment(Points("moons"), Other(), Elbo(), Training())
    with pytest.raises(SeedbedError, match="coupling of mine is not of the type that it is in toy/8gaussians/flow"):
        check_names({"mine": given})

    @dataclass(frozen=True, kw_only=True)
    class Clash(VAE):
        lr: float = option(1.0, "of z")

    with pytest.raises(SeedbedError, match="'lr' is a field of Clash and of Training"):
        Experiment(Points("moons"), Clash(), Elbo(), Training())

    @dataclass(frozen=True, kw_only=True)
    class Hidden(VAE):
        device: str = option("cpu", "where")

    with pytest.raises(SeedbedError, match="'device', which is a flag of `seedbed run`"):
        Experiment(Points("moons"), Hidden(), Elbo(), Training())


def test_the_reserved_names_are_the_flags_that_are_no_settings():
    @common
    def nothing():
        pass

    flags = {param.name for param in nothing.__click_params__}
    settings = {name for model in MODELS for name in usual(model).settings}
    others = {"target", "mute", "help"}  # the argument, and another spelling of a flag
    assert flags | others == RESERVED | (flags & settings) and not RESERVED & settings


def test_one_number_or_many():
    lvae, vae = find("lvae"), find("vae")
    assert lvae.with_config({"latents": 4}).settings["latents"] == (4,)
    assert vae.with_config({"latents": (4,)}).settings["latents"] == 4
    with pytest.raises(SeedbedError, match="latents of VAE is one number, got 4,4"):
        vae.with_config({"latents": (4, 4)})


# Small and quick, of each kind of experiment: a registered one, and the settings that make it so.
POINTS = {"train_size": 64, "eval_size": 32, "valid_size": 32}
SHORT = {"steps": 3, "eval_every": 2, "batch_size": 8}
PICTURES = {"data": "tiles", "precision": "fp32"}
KINDS = {
    "toy/8gaussians/vae": {**POINTS, "hidden": (4,), "latents": 2},
    "toy/8gaussians/lvae": {**POINTS, "hidden": (4, 4), "latents": (2, 2)},
    "toy/8gaussians/flow": {**POINTS, "hidden": (4,), "couplings": 2},
    "toy/8gaussians/wgan-gp": {**POINTS, "hidden": (4,), "critic_updates": 2},
    "toy/8gaussians/vae-compat": POINTS,
    "tables/iris/gaussian": {},
    "tables/iris/flow": {"hidden": (4,), "couplings": 2},
    "mnist-convergence/mnist-dynamic/vae": {**PICTURES, "hidden": (4,), "latents": 2, "pseudo_inputs": 3},
    "mnist-convergence/mnist-dynamic/lvae": {**PICTURES, "hidden": (4, 4, 4), "latents": (2, 2, 2)},
    "iwae/mnist-dynamic/iwae1-2layer": {
        **PICTURES,
        "hidden": (4,),
        "latents": 2,
        "hidden_above": (3,),
        "latents_above": 2,
        "optimizer": "adam",
    },
    "iwae/mnist-dynamic/iwae1-1layer": {**PICTURES, "hidden": (4,), "latents": 2, "hidden_above": (3,), "optimizer": "adam"},
    "vae-static/mnist-static/conv-20epochs": {"data": "squares", "latents": 2},
    "hvae-mnist/mnist-dynamic/hvae-free": {"data": "squares", "hidden": (4,), "latents": 2, "leapfrogs": 2},
    "hvae-mnist/mnist-dynamic/iaf": {**PICTURES, "hidden": (4,), "latents": 2, "masked_hidden": (4,), "context": 2},
    "observation-models/cifar10-batch1/06": {
        "data": "bricks",
        "likelihood": "auto",
        "convolutions": "b",
        "k": 1,
        "latents": 2,
        "latents_above": 2,
        "hidden_above": (3,),
    },
    "symmetric/mnist/ladder-symmetric": {"data": "squares", "bits": (2, 3), "hidden": (4,)},
    "gaussian/d25/iaf": {"data": "gaussian-d3", "set_size": 20, "masked_hidden": (4,)},
    "mnist-convergence/mnist-dynamic/draw": {**PICTURES, "hidden": 4, "latents": 2, "strokes": 2},
    "mnist-convergence/mnist-dynamic/flow": {**PICTURES, "couplings": (0, 1, 1), "width": 4, "depth": 1, "growth": 2},
}
NEIGHBOURS = {"8gaussians": "moons", "tiles": "stones", "squares": "blocks", "iris": "diabetes"}
NEIGHBOURS |= {"gaussian-d3": "gaussian-d4", "bricks": "slates"}
# What a setting is changed to, where one more or the next choice would not show within three updates; and beside what.
OTHER = {
    "data": lambda e: NEIGHBOURS[e.settings["data"]],
    "step_size": lambda e: 0.1,
    "masked_hidden": lambda e: (7,),
    "lr": lambda e: 0.1,
    "betas": lambda e: (0.3, 0.7),
    "clip": lambda e: 1e-3,
    "ema": lambda e: 0.05,  # the first steps average over fewer than a decay near 1 says
    "patience": lambda e: 1,
    "precision": lambda e: "fp64",
    "vary": lambda e: "init",
    "warm_up": lambda e: 0.9,
    "free_bits": lambda e: 2.0,
    "critic_lr": lambda e: 0.3,
    "encoder_hidden": lambda e: (3,),
    "corruption": lambda e: 0.3,
    "read": lambda e: 2,
    "write": lambda e: 2,
    "steps": lambda e: 2,
    "likelihood": lambda e: "categorical",
    "latent_maps": lambda e: "coarse",  # a map of one pixel is the same
    "fixed_scale": lambda e: 0.3,
    "least_scale": lambda e: 0.4,
}
# How levels are scored, that KINDS have none of.
OBSERVED = {field.name for field in fields(ObservedModel)}
GREY = {
    "vae": {"hidden": (4,), "latents": 2, "data": "greys"},
    "bottom-up-vae": {"hidden": (4,), "latents": 2, "data": "greys", "k": 2},
    "conv-vae": {"latents": 2, "data": "pages"},
}
BESIDE = {
    "patience": {"eval_every": 1, "lr": 0.0},  # no validation is better than the first
    "gradient": {"warm_up": 0.0, "beta": 1.0, "free_bits": 0.0},
    "k": {"warm_up": 0.0, "beta": 1.0, "free_bits": 0.0},
}
# What a kind has one choice of: every other one is refused.
ALONE = {("hvae-mnist/mnist-dynamic/hvae-free", "gradient"): "knows it of its own draws alone; use gradient='standard'"}


@pytest.fixture
def small(monkeypatch):
    """Pictures to learn from that need no file, few of them to look at, no look before training, no care of the disk."""

    def drawn(name, side):
        bits = Noise([Streams(7)], "data", name).bernoulli(torch.full((40, side, side), 0.4)).numpy()
        return lambda seed=0: from_arrays({"train": bits}, name=name, seed=seed)

    def grey(name, side):
        levels = Noise([Streams(7)], "data", name).uniform((1, side, side), batch=40).mul(6).floor().numpy()
        return lambda seed=0: from_arrays({"train": levels}, name=name, seed=seed, levels=6)

    sides = {"tiles": 4, "stones": 4, "bricks": 8, "slates": 8, "squares": 28, "blocks": 28}
    sets = [(name, drawn(name, side)) for name, side in sides.items()]
    for name, made in (*sets, ("greys", grey("greys", 4)), ("pages", grey("pages", 28))):
        monkeypatch.setattr(data, "_REGISTERED", data._REGISTERED | {name})
        monkeypatch.setitem(data.DATA, name, made)
    monkeypatch.setattr(points, "GRID", 4)
    monkeypatch.setattr(points.point_artefacts, "__defaults__", (4,))
    for name in ("SHOWN", "POINTS", "SIDE"):
        monkeypatch.setattr(images, name, 3)
    monkeypatch.setattr(execute, "look", lambda *what, mapped: None)
    monkeypatch.setattr(os, "fsync", lambda file: None)


def other(experiment: Experiment, name: str):
    """Another value of a setting."""
    if name in OTHER:
        return OTHER[name](experiment)
    kind, _ = experiment.described()[name]
    value = experiment.settings[name]
    if kind.choices:
        return next(choice for choice in kind.choices if choice != value)
    if kind.of is bool:
        return not value
    return tuple(one + 1 for one in value) if kind.many else value + 1


def shows(experiment: Experiment, out: Path) -> str:
    """A digest of everything that a short run leaves: rows, weights, artefacts."""
    # One seed, and not the one that is held where the seeds do not vary.
    run = seedbed.run(experiment, seeds=[1], out=out, threads=1)
    found = hashlib.sha256(run.table.drop(columns="wall_s").to_csv().encode())
    for value in run.models[0].state_dict().values():
        found.update(str(value.shape).encode() + value.double().numpy().tobytes())
    for path in sorted((run.path / "artefacts").rglob("*.npz")):
        found.update(path.read_bytes())
    return found.hexdigest()


def silent(name: str, out: Path, where: Callable[[str], bool], small: Mapping[str, Any] | None = None) -> list[str]:
    """The settings, of those that are asked for, that change nothing of a short run."""
    plain = find(name).with_config({**SHORT, **(small or KINDS[name])})
    seen, found = {}, []
    for setting, (_, about) in plain.described().items():
        if setting == "warm_start" or not where(setting):
            continue  # a folder: see test_a_start_is_a_setting
        wanted = {key: values for key, values in about["when"].items() if key in plain.settings}
        beside = {key: next(iter(values)) for key, values in wanted.items() if plain.settings[key] not in values}
        if beside:
            with pytest.raises(SeedbedError, match="has no say with"):
                plain.changed({setting: other(plain, setting)})
        beside |= {key: value for key, value in BESIDE.get(setting, {}).items() if key in plain.settings}
        base = plain.with_config(beside)
        key = json.dumps(beside, default=list)
        if key not in seen:
            seen[key] = shows(base, out / f"{len(seen)}")
        if (name, setting) in ALONE:
            with pytest.raises(SeedbedError, match=ALONE[name, setting]):
                shows(base.changed({setting: other(base, setting)}), out / setting)
            continue
        if shows(base.changed({setting: other(base, setting)}), out / setting) == seen[key]:
            found.append(setting)
    return found


TRAINING = {field.name for field in fields(Training)}
TRAINED = ("toy/8gaussians/vae", "toy/8gaussians/wgan-gp")  # one player, and two


@pytest.mark.parametrize("name", KINDS)
def test_every_flag_of_data_model_and_objective_has_a_say(name, small, tmp_path):
    assert silent(name, tmp_path, lambda setting: setting not in TRAINING | OBSERVED) == []


@pytest.mark.parametrize("name", GREY)
def test_every_flag_of_an_observation_model_has_a_say(name, small, tmp_path):
    assert silent(name, tmp_path, lambda setting: setting in OBSERVED, GREY[name]) == []


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in TRAINED else pytest.mark.slow) for n in KINDS])
def test_every_flag_of_training_has_a_say(name, small, tmp_path):
    assert silent(name, tmp_path, lambda setting: setting in TRAINING) == []


def test_the_same_settings_show_the_same(small, tmp_path):
    """Else a flag without a say would pass for one that has it."""
    plain = find("toy/8gaussians/vae").with_config({**SHORT, **KINDS["toy/8gaussians/vae"]})
    assert shows(plain, tmp_path / "a") == shows(plain, tmp_path / "b")


def test_a_start_is_a_setting(small, tmp_path):
    plain = find("toy/8gaussians/vae").with_config({**SHORT, **KINDS["toy/8gaussians/vae"]})
    first = seedbed.run(plain, seeds=[1], out=tmp_path / "first", threads=1)
    assert shows(plain, tmp_path / "a") != shows(plain.with_config({"warm_start": str(first.path)}), tmp_path / "b")


def test_every_kind_of_experiment_is_among_those_tried():
    def kind(experiment):
        return tuple(type(part) for part in experiment.parts)

    tried = {kind(EXPERIMENTS[name]) for name in KINDS}
    assert {kind(experiment) for experiment in EXPERIMENTS.values()} == tried


def test_a_seed_of_data_that_are_the_same_for_every_seed_is_refused():
    with pytest.raises(SeedbedError, match="mnist-dynamic is the same for every seed of the data"):
        find("mnist/mnist-dynamic/vae").with_config({"data_seed": 1}).task([])


def test_the_players_of_a_game_have_what_is_declared():
    """`--optimizer sgd --clip 1` once gave Adam without clipping."""
    from seedbed.train.optim import SGD, Adam

    wgan = find("toy/8gaussians/wgan-gp")
    critic, generator = wgan.objective.game(wgan.training, wgan.model).players
    assert critic.optimizer == generator.optimizer == Adam(lr=5e-4, beta1=0.5, beta2=0.9)
    assert (critic.ema, generator.ema, critic.repeat, critic.clip) == (0.0, 0.999, 5, None)
    given = wgan.with_config({"optimizer": "sgd", "betas": (), "clip": 1.0, "critic_lr": 2e-3, "schedule": "constant"})
    critic, generator = given.objective.game(given.training, given.model).players
    assert (critic.optimizer, generator.optimizer) == (SGD(lr=2e-3), SGD(lr=5e-4))
    assert critic.clip == generator.clip == 1.0 and critic.schedule(9, 10) == 1.0
    with pytest.raises(SeedbedError, match="betas are two numbers"):
        replace(wgan.training, betas=(0.5,)).player(None)


def test_a_preset_hashes_what_it_names():
    plain = Experiment(Examples("digits-binary"), VAE(), Elbo(), Training())
    few = hashed_by(plain, ("data", "latents"), network="old")
    assert few.config() == {"network": "old", "data": "digits-binary", "latents": 50}
    assert few.with_config({"lr": 1.0}).config() == {**few.config(), "lr": 1.0}
    later = {name for name, (_, about) in plain.described().items() if about["later"]}
    assert "warm_start" in later and set(plain.config()) == set(plain.settings) - later | {"parts"}


def test_whatever_is_edited_in_a_preset_names_it_anew():
    """A run that is finished must not stand for one of other settings."""
    for name in KINDS:
        preset = find(name)
        for part in PARTS:
            declared = getattr(preset, part)
            for setting in field_types(type(declared)):
                if setting in preset.retired or setting == "warm_start":
                    continue
                value = "elsewhere" if setting == "data" else other(preset, setting)
                edited = replace(preset, **{part: replace(declared, **{setting: value})})
                assert edited.config() != preset.config(), (name, setting)


def test_other_parts_with_the_same_settings_are_another_experiment():
    @dataclass(frozen=True, kw_only=True)
    class Mine(Elbo):
        pass

    plain = Experiment(Examples("digits-binary"), VAE(), Elbo(), Training())
    assert replace(plain, objective=Mine()).config() != plain.config()
    preset = EXPERIMENTS["digits/digits-binary/vae"]
    assert replace(preset, objective=Mine()).config() != preset.config()
    with pytest.raises(SeedbedError, match=r"settings of Examples, VAE, Elbo, Training; the experiment is made of .* Mine"):
        replace(plain, objective=Mine()).with_config(plain.config())


def test_what_is_declared_is_checked_where_it_is_declared():
    """Without anybody to check types, as where a user runs."""
    script = (
        "from dataclasses import dataclass\n"
        "from seedbed.experiments import *\n"
        "from seedbed import SeedbedError\n"
        "class Bare(VAE):\n    depth: int = option(1, 'layers')\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Maybe(VAE):\n    depth: int | None = option(None, 'layers')\n"
        "for make in (lambda: VAE(hidden='wide'), lambda: Training(lr='fast'), lambda: Training(optimizer='adma'),\n"
        "             Bare, Maybe, lambda: Training(steps=2.5), lambda: Experiment(VAE(), VAE(), Elbo(), Training())):\n"
        "    try:\n        make()\n        print('accepted')\n    except SeedbedError as error:\n        print(error)\n"
        "print(VAE(hidden=8).hidden, VAE(hidden=[8, 4]).hidden, repr(Training(clip=5).clip))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "hidden must be a whole number, at least 1, got 'wide'",
        "lr must be a finite number, at least 0, got 'fast'",
        "unknown optimizer 'adma'; did you mean 'adamax'?",
        "Bare declares fields; put @dataclass(frozen=True, kw_only=True) before the class",
        "depth of Maybe is of type int | None, which no flag can have; expected int, float, bool, str, Literal[...] or "
        "tuple[int, ...]",
        "steps must be a whole number, at least 1, got 2.5",
        "data of an experiment must be a Data, got VAE",
        "(8,) (8, 4) 5.0",
    ]


def test_what_a_study_s_experiment_does_not_have_is_said(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["run", "toy", "-d", "moons", "--network", "lvae", "--steps", "2"])
    assert ended.value.code == 2 and "--network has no say in any of these experiments" in capsys.readouterr().err
