"""A helper of `own_experiment.py`: what lies beside a file of your own is found before anything else."""

from torch import nn


def leaky_network(inputs: int, outputs: int, slope: float) -> nn.Sequential:
    """Two layers."""
    return nn.Sequential(nn.Linear(inputs, 32), nn.LeakyReLU(slope), nn.Linear(32, outputs))
