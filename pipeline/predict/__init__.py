"""Label new images with a saved head, write the labels to a CSV file, and find images unlike the training images."""

from pipeline.predict.label_images import Predictor, predict_images
from pipeline.predict.prediction import Prediction

__all__ = ["Prediction", "Predictor", "predict_images"]
