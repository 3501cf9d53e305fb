"""A simulated GPU: code for `torch.device("cuda")` runs on a CPU build of torch, with real numbers."""
