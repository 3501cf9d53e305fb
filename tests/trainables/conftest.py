"""Small networks run fastest on one thread, and undisturbed by other tests on the machine."""

import torch

torch.set_num_threads(1)
