"""New images, labelled: by a saved head, as a CSV file, and whether they are like any that it was trained on."""

from pipeline.predict.label_images import Prediction, Predictor, predict_images

__all__ = ["Prediction", "Predictor", "predict_images"]
