"""Conditioning of generator and critic on a class or a lesion."""
