"""Stage two: train heads on stored features, score them and save them below the store."""
