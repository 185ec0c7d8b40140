"""Defaults that both a signature and the command line show, each written once."""

VALIDATION = 0.2  # of the images, where no splits are given
TEST = 0.0
THRESHOLD = 0.7  # cosine of features from which two images may be duplicates
EXTRACT_BATCH = 32  # images a forward pass
MAX_BAD = 0.01  # of the images without features; more means that something is wrong with the data

# The slides' dense head
UNITS = (50, 25)
DROPOUT = 0.0
LEARNING_RATE = 1e-3
EPOCHS = 10
HEAD_BATCH = 32

UNKNOWN = 0.99  # of the training images are nearer to one another than an unknown image is to them

# Fine-tuning: small steps, as all weights are good already (Chollet, Deep Learning with Python, 8.3.2)
TUNING_RATE = 1e-5
TUNING_EPOCHS = 10
TUNING_PATIENCE = 3

# An exported model
FORMS = ("image", "slides")
FORMATS = {"keras": ".keras", "savedmodel": "", "tflite": ".tflite", "onnx": ".onnx"}  # by what a name ends in
COMPARED = 200  # images, by `verify --model`
