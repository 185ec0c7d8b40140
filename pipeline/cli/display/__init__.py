"""What the command line shows of images, stores, heads and findings."""
