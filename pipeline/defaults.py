"""Defaults that function signatures and the command line share."""

VALIDATION = 0.2  # fraction of the images, if no splits are given
TEST = 0.0  # fraction of the images
THRESHOLD = 0.7  # minimum cosine of the features of two images whose pixels are compared for duplicates
EXTRACT_BATCH = 32  # images per forward pass
MAX_BAD = 0.01  # fraction of images without features; more means that something is wrong with the data

# The dense head of the slides
UNITS = (50, 25)
DROPOUT = 0.0
LEARNING_RATE = 1e-3
EPOCHS = 10
HEAD_BATCH = 32

UNKNOWN = 0.99  # an image is unknown if it is farther from the train images than this fraction of them is

# Fine-tuning: a small learning rate, as all weights are trained already (Chollet, Deep Learning with Python, 8.3.2)
TUNING_RATE = 1e-5
TUNING_EPOCHS = 10
TUNING_PATIENCE = 3

# Training of a conv base
BASE_EPOCHS = 100
BASE_PATIENCE = 12
BASE_RATE = 1e-3  # from random weights
PRETRAINED_RATE = 1e-4  # from others, which larger steps destroy
BASE_AUGMENTATION = {"rotation": 10, "width_shift": 0.1, "height_shift": 0.1, "shear": 0, "zoom": 0.1}
BASE_AUGMENTATION |= {"horizontal_flip": False}  # a mirrored digit is no digit

# An exported model
FORMS = ("image", "slides")
FORMATS = {"keras": ".keras", "savedmodel": "", "tflite": ".tflite", "onnx": ".onnx"}  # name and file suffix
COMPARED = 200  # images that `verify --model` compares

COMPARED_PER_CLASS = 300  # train images of each class in the first step of a comparison
