"""Images on disk: which there are, their labels and splits, and their pixels."""
