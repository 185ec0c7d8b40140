"""A tiny conv base in a file, and stores made with it, for the tests of exported models."""

from pathlib import Path

from pipeline import ConvBaseSpec, FeatureStore, extract_features, scan_images, train_heads
from tests.fakes import photo_folder

KERAS_HEADS = ("logistic", "svm", "ridge", "mlp", "dense")
PARAMS = {"logistic": {"C": 1.0}, "svm": {"C": 0.01}, "mlp": {"epochs": 3}, "dense": {"epochs": 2}}


def conv_base_file(path: Path) -> Path:
    """Write a `.keras` file of two convolutions with seeded random weights."""
    import keras

    images = keras.Input((None, None, 3))
    maps = images
    for number, width in enumerate((4, 6)):
        kernel = keras.initializers.GlorotUniform(number)
        maps = keras.layers.Conv2D(width, 3, strides=2, activation="relu", kernel_initializer=kernel)(maps)
    keras.Model(images, maps, name="tiny").save(path)
    return path


def tiny_store(
    root: Path, classes: tuple[str, ...] = ("cats", "dogs"), heads: tuple[str, ...] = KERAS_HEADS, **spec: object
) -> FeatureStore:
    """Make a store of forty photos of each class, their features (5, 4, 6), and trained heads."""
    root.mkdir(parents=True, exist_ok=True)
    photos = photo_folder(root / "photos", 40, classes)
    settings = {"preprocessing": "rescale", "size": (24, 20), "precision": "float32", **spec}
    conv_base = ConvBaseSpec(str(conv_base_file(root / "tiny.keras")), **settings)
    store = extract_features(scan_images(photos), root / "cache", conv_base)
    train_heads(store, heads, params={name: PARAMS[name] for name in heads if name in PARAMS})
    return store
