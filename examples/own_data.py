"""Your own data under a name, for any model: `seedbed run examples/own_data.py:vae`, `...:flow`, then compare them.

A file on disk needs none of this: `seedbed run vae -d csv:table.csv` (or array:, folder:).
"""

import torch
from sklearn.datasets import load_breast_cancer
from torch.utils.data import Dataset

import seedbed.data
from seedbed.experiments import VAE, CouplingFlow, Elbo, Examples, Experiment, Likelihood, Training


class Cells(Dataset):
    """Thirty measurements of each of 569 cell nuclei (Wisconsin Breast Cancer, bundled with scikit-learn), standardised."""

    def __init__(self):
        x = torch.tensor(load_breast_cancer().data)
        self.x = ((x - x.mean(0)) / x.std(0)).float()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, row):
        return self.x[row]


seedbed.data.register("cells", Cells())  # split 80 / 10 / 10; give valid= and test= where you have them

training = Training(steps=2000, batch_size=64, lr=1e-3, eval_every=250)
vae = Experiment(Examples("cells"), VAE(latents=8, hidden=(64, 64)), Elbo(), training)
flow = Experiment(Examples("cells"), CouplingFlow(coupling="spline", couplings=4), Likelihood(), training)
