"""A GPU that is not there: code for `torch.device("cuda")` runs on a CPU build of torch, with real numbers."""
