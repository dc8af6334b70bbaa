"""Which layers of a hierarchy are used, in words and as the report's table."""

import html
import math

from seedbed.report.document import compose
from seedbed.report.groups import grouped
from seedbed.report.html import render
from seedbed.report.layer_use import trivial_words, unused_latents
from seedbed.report.stored import StoredRun
from seedbed.report.verdicts import judged
from seedbed.store.table import Row


def test_a_collapsed_layer_is_named():
    kl = {("kl_z1_nats", 0): 18.0, ("kl_z2_nats", 0): 0.02, ("kl_z2_nats", 3): 0.0301, ("kl_z2_nats", 5): 0.4}
    kl |= {("kl_z10_nats", 5): 0.001, ("kl_nats", 0): 18.02, ("kl_z1_0_nats", 0): 0.0, ("rate_nats", 0): 0.0}
    assert unused_latents(kl) == [
        "layer z10 has collapsed onto its prior in seed 5: a KL of at most 0.001 nats",
        "layer z2 has collapsed onto its prior in seeds 0, 3: a KL of at most 0.03 nats",
    ]
    assert unused_latents({("kl_z1_nats", 0): 0.1}) == []


def test_where_no_latent_tells_of_x_the_equilibrium_is_trivial():
    kl = {("kl_nats", 3): 0.00204, ("kl_nats", 1): 0.001, ("kl_nats", 0): 0.1, ("kl_nats", 2): math.nan}
    kl |= {("kl_z1_nats", 1): 0.001, ("units", 0): 0.0}
    assert unused_latents(kl) == [
        "the trivial equilibrium in seeds 1, 3: the decoder ignores z, and q(z | x) is the prior "
        "(a KL of at most 0.002 nats)",
        "layer z1 has collapsed onto its prior in seed 1: a KL of at most 0.001 nats",
    ]
    assert unused_latents({("kl_nats", 0): 0.1}) == []


def test_the_report_names_a_trivial_equilibrium(tmp_path, write, call):
    folder = write(tmp_path / "runs", "bits", 90.0, metric="neg_elbo_nats", worse=(2,))
    other = write(tmp_path / "runs", "vae", 92.0, metric="neg_elbo_nats")
    kl = lambda seed, nats: Row(seed, 1000, "test", "kl_nats", nats, "nats", 50, 0.1, 11.0)
    folder.table(range(6)).append([kl(seed, {2: 0.004, 5: 0.012}.get(seed, 9.0)) for seed in range(6)])
    runs = [StoredRun.read(folder.path), StoredRun.read(other.path)]
    said = (  # of a seed that is lost for it, too
        "bits: the trivial equilibrium in seeds 2, 5: the decoder ignores z, and q(z | x) is the prior "
        "(a KL of at most 0.012 nats)."
    )
    (group,) = grouped(runs)
    assert trivial_words(judged(group)) == said
    assert said in html.unescape(render(compose(runs)))
    code, out, _ = call("compare", folder.path, other.path)
    assert code == 0 and said in " ".join(out.split())


def test_training_and_measuring_name_a_trivial_equilibrium(call):
    code, out, err = call(
        *[
            "run",
            "symmetric-vae",
            "-d",
            "digits-binary",
            "-n",
            "1",
            "--steps",
            "2",
            "--bits",
            "2,2",
            "--hidden",
            "4",
            "--out",
            "r",
            "-q",
        ]
    )
    assert code == 0, err
    said = "symmetric-vae: the trivial equilibrium in seed 0: the decoder ignores z, and q(z | x) is the prior (a KL of at "
    assert said in out
    few = ["--steps", "2", "--bits", "2,2", "--hidden", "4"]
    code, out, err = call("run", "symmetric-vae", "-d", "digits-binary", "-n", "1", *few, "--out", "r", "-q")
    assert code == 0 and said in out, err


def test_the_report_names_a_collapsed_layer(tmp_path, write):
    folder = write(tmp_path / "runs", "lvae", 90.0, metric="neg_elbo_nats", lost=(4,))
    write(tmp_path / "runs", "vae", 92.0, metric="neg_elbo_nats")
    kl = {"kl_z1_nats": 20.0, "kl_z2_nats": 0.02, "kl_nats": 20.02}
    table = folder.table(range(6))
    table.append(
        [
            Row(seed, 1000, "test", metric, nats + (seed == 3 and metric == "kl_z2_nats"), "nats", 50, 0.1, 11.0)
            for metric, nats in kl.items()
            for seed in (0, 1, 2, 3, 4, 5)
        ]
    )
    report = compose([StoredRun.read(folder.path), StoredRun.read(folder.path.parents[1] / "vae" / folder.path.name)])
    found = report.tables["layers"]
    assert [row[1:3] + row[4:] for row in found.body] == [["lvae", "z1", "none"], ["lvae", "z2", "seeds 0, 1, 2, 5"]]
    assert found.body[1][3].startswith("0.2") and [row["seeds"] for row in found.raw] == [6, 6]  # without the lost seed
    assert "The use of each stochastic layer" in render(report)
    # It explains the loss, and is none.
    assert report.families[0].group.metric == "neg_elbo_nats" and not any("kl_z" in m for m in report.runs[0].judged)
