"""Writes sample_1000.npz: the first 100 images of each class of the MNIST training set, class by class."""

from pathlib import Path

import numpy as np

from sandbox.tasks.files import read_card, read_file
from sandbox.tasks.mnist import parse_idx

card = read_card("mnist")
images, labels = (parse_idx(read_file(card, file.name), file.name).numpy() for file in card.files[:2])
chosen = np.concatenate([np.flatnonzero(labels == digit)[:100] for digit in range(10)])
np.savez_compressed(Path(__file__).parent / "sample_1000.npz", images=images[chosen], labels=labels[chosen])
