"""Training: settings, losses, the loop on Lightning's Trainer, and what it keeps and shows."""
