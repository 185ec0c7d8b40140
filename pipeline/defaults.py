"""Defaults that both a signature and the command line show, each written once."""

VALIDATION = 0.2  # of the images, where no splits are given
TEST = 0.0
EXTRACT_BATCH = 32  # images a forward pass
MAX_BAD = 0.01  # of the images without features; more means that something is wrong with the data

# The slides' dense head
UNITS = (50, 25)
DROPOUT = 0.0
LEARNING_RATE = 1e-3
EPOCHS = 10
HEAD_BATCH = 32
