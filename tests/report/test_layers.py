"""Which layers of a hierarchy are used, in words and as the report's table."""

from seedbed.report.document import compose
from seedbed.report.html import render
from seedbed.report.layer_use import collapsed_layers
from seedbed.report.stored import StoredRun
from seedbed.store.table import Row


def test_a_collapsed_layer_is_named():
    kl = {("kl_z1_nats", 0): 18.0, ("kl_z2_nats", 0): 0.02, ("kl_z2_nats", 3): 0.0301, ("kl_z2_nats", 5): 0.4}
    kl |= {("kl_z10_nats", 5): 0.001, ("kl_nats", 0): 0.0, ("kl_z1_0_nats", 0): 0.0, ("rate_nats", 0): 0.0}
    assert collapsed_layers(kl) == [
        "layer z10 has collapsed onto its prior in seed 5: a KL of at most 0.001 nats",
        "layer z2 has collapsed onto its prior in seeds 0, 3: a KL of at most 0.03 nats",
    ]
    assert collapsed_layers({("kl_z1_nats", 0): 0.1}) == []


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
