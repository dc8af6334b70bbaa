"""Metrics by name: what is declared, what stands for a placeholder, what an undeclared one is."""

import math

import pytest

from seedbed.core.metric import (
    ESS,
    GAP,
    KL,
    KL_OF_LAYER,
    METRICS,
    NEG_ELBO,
    NEG_IW,
    NLL,
    NLL_SAMPLED,
    SW,
    Metric,
    declared,
)


@pytest.mark.parametrize(
    ("metric", "name", "stands_for"),
    [
        (NEG_IW, "neg_iw50_nats", {"k": "50"}),
        (NEG_IW, "neg_iwx_nats", None),  # one letter stands for a whole number
        (NEG_IW, "neg_iw_nats", None),
        (KL_OF_LAYER, "kl_z1_nats", {"layer": "z1"}),
        (KL_OF_LAYER, "kl_upper_z_nats", {"layer": "upper_z"}),
        (KL_OF_LAYER, "kl_nats", None),
        (KL, "kl_nats", {}),
        (Metric("fid@<features>", "", ""), "fid@pixels", {"features": "pixels"}),
        (Metric("a.b", "", ""), "axb", None),
    ],
)
def test_a_placeholder_stands_for_what_differs(metric, name, stands_for):
    assert metric.parse(name) == stands_for


def test_what_stands_beside_tells_two_of_one_name_apart():
    assert declared(NLL.name) is NLL and declared(NLL.name, beside={"gap_nats"}) is NLL
    assert declared(NLL.name, beside={ESS.name}) is NLL_SAMPLED
    assert declared(GAP.name) is GAP and declared(GAP.name, beside={NEG_ELBO.name}).kind == "upper bound"


def test_a_metric_that_nobody_declared_is_a_loss():
    found = declared("surprise")
    assert (found.better, found.range, found.offset) == ("lower", (-math.inf, math.inf), False)
    own = Metric("surprise", "bits", "how much", "higher", low=0.0)
    assert declared("surprise", [own]) is own and own.range == (0.0, math.inf)
    assert declared("sw_distance", [Metric("sw_distance", "m", "another", "higher")]) is SW


def test_each_is_declared_once():
    """Of two of one name all but the last are told by what stands beside them, and agree in unit and direction."""
    for name in (metric.name for metric in METRICS):
        *others, last = [metric for metric in METRICS if metric.name == name]
        assert not last.beside and all(other.beside for other in others)
        assert all((other.unit, other.better, other.of) == (last.unit, last.better, last.of) for other in others)
    assert all(metric.meaning and metric.unit for metric in METRICS)
    assert all(metric.unit == "nats" for metric in METRICS if metric.name.endswith("_nats"))
