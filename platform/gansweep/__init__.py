"""gansweep: distributed hyperparameter search for medical-image GANs."""

__version__ = "0.1.0"
