"""What is minimised, and what the critic is shown: losses, penalties, augmentation."""
