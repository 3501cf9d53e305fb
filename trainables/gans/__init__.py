"""One GAN family per file."""
