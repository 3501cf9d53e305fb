"""Every metric between two sets of images, with intervals."""
