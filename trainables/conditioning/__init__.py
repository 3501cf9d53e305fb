"""How generator and critic are conditioned on a class or a lesion."""
