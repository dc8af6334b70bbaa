"""An experiment: three variants of one model on one data set, a study of one's own."""

from dataclasses import replace

from seedbed.experiments import VAE, Elbo, Experiment, Points, Training

experiment = Experiment(
    Points("pinwheel"),
    VAE(latents=2, hidden=(64, 64), activation="relu"),
    Elbo(warm_up=0.1),
    Training(steps=5_000, lr=2e-3, ema=0.999),
)
tight = replace(experiment, objective=Elbo(k=10, gradient="dreg"))
