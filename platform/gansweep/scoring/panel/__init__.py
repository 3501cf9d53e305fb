"""All metrics of two sets of images, with confidence intervals."""
