"""Heads as Keras layers, and `assemble_model`."""

import keras
import numpy as np
import pytest

from pipeline import ConvBaseSpec, extract_features, load_head, make_head, scan_images, train_heads
from pipeline.errors import HeadError, StoreMismatch
from pipeline.export import assemble_model, export_model, verify_model
from pipeline.heads.keras_layers import head_layers, read_class_names, write_class_names
from pipeline.images.decode import decode_image
from tests.exporting import KERAS_HEADS, PARAMS, tiny_store
from tests.fakes import photo_folder

ROW = (3, 2, 8)
NAMES = ["ants", "bees", "cats", "dogs"]


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return tiny_store(tmp_path_factory.mktemp("three"), ("a b", "ü", "z.z"), resize="antialias", store_dtype="float32")


def fitted(name, labels, row=ROW, **params):
    """Fit a head on features with very different means and deviations, some of them constant."""
    rng = np.random.default_rng(0)
    y = rng.choice(labels, 120)
    scales = np.geomspace(1e-3, 1e3, row[-1])
    X = rng.normal(3, 1, (len(y), *row)) * scales + 2 * scales * y.reshape(-1, *[1] * len(row))
    X[..., 0] = 7
    return make_head(name, **{**PARAMS.get(name, {}), **params}).fit(X.astype(np.float32), y), X.astype(np.float32)


def through_layers(head, names, X):
    found = X
    for layer in head_layers(head, names):
        found = layer(found)
    return np.asarray(found)


def photo_of(store, number):
    data = (store.images.root / store.images.ids[number]).read_bytes()
    return decode_image(data, lambda height, width: (height, width))


@pytest.mark.parametrize("name", KERAS_HEADS)
def test_with_two_classes_the_layers_give_the_probability_of_the_second(name):
    head, X = fitted(name, [0, 1])
    found = through_layers(head, NAMES[:2], X)
    assert found.shape == (len(X), 1) and found.dtype == np.float32
    np.testing.assert_allclose(found[:, 0], head.predict_proba(X)[:, 1], atol=1e-4)


@pytest.mark.parametrize("name", KERAS_HEADS)
def test_with_more_classes_the_layers_give_a_column_each(name):
    head, X = fitted(name, [0, 1, 2])
    np.testing.assert_allclose(through_layers(head, NAMES[:3], X), head.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize("name", KERAS_HEADS)
@pytest.mark.parametrize("labels", [[1, 3], [0, 2, 3]])
def test_a_class_without_training_images_shifts_no_column(name, labels):
    head, X = fitted(name, labels)
    found = through_layers(head, NAMES, X)
    missing = [number for number in range(4) if number not in labels]
    assert (found[:, missing] == 0).all()
    np.testing.assert_allclose(found[:, labels], head.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize("pool", ["avg", "max", "flatten"])
@pytest.mark.parametrize("row", [(8,), (5, 8), (3, 2, 8), (2, 2, 2, 8)])
def test_every_way_of_pooling_rows_of_any_shape(pool, row):
    head, X = fitted("logistic", [0, 1, 2], row, pool=pool)
    np.testing.assert_allclose(through_layers(head, NAMES[:3], X), head.predict_proba(X), atol=1e-4)


def test_the_layers_of_a_dense_head_include_its_dropout_switched_off():
    head, X = fitted("dense", [0, 1], dropout=0.5)
    kinds = [type(layer).__name__ for layer in head_layers(head, NAMES[:2])]
    assert kinds == ["Flatten", "Dense", "Dropout", "Dense", "Dropout", "Dense"]
    np.testing.assert_allclose(through_layers(head, NAMES[:2], X)[:, 0], head.predict_proba(X)[:, 1], atol=1e-6)


def test_the_layers_are_copies():
    head, X = fitted("dense", [0, 1])
    before = head.predict_proba(X)
    for layer in head_layers(head, NAMES[:2]):
        layer.set_weights([0 * weight for weight in layer.get_weights()])
    np.testing.assert_array_equal(head.predict_proba(X), before)


@pytest.mark.parametrize("names", [["cats", "dogs"], ["a b", "a_b", "ü.x/y", "_20_", "\udcff"], ["1", "-"]])
def test_class_names_are_read_back_from_the_name_of_a_layer(names):
    safe = write_class_names(names)
    assert read_class_names(safe) == names
    assert all(character.isascii() and (character.isalnum() or character in "._-") for character in safe)


@pytest.mark.parametrize("name", KERAS_HEADS)
def test_the_model_gives_for_an_image_of_any_size_the_probabilities_of_features_and_head(store, name):
    model = assemble_model(store, name)
    head, (X, _) = load_head(store.heads_directory / name), store.load()
    for number in range(0, len(X), 13):
        image = photo_of(store, number).astype(np.uint8)
        found = model.predict(image[None], verbose=0)
        assert found[0, 0] == pytest.approx(head.predict_proba(X[number : number + 1])[0, 1], abs=1e-5)


def test_antialiased_resizing_and_odd_class_names(three):
    model = assemble_model(three, "logistic")
    head, (X, _) = load_head(three.heads_directory / "logistic"), three.load()
    batch = np.stack([photo_of(three, number) for number in range(6)])
    np.testing.assert_allclose(model.predict(batch, verbose=0), head.predict_proba(X[:6]), atol=1e-5)
    assert read_class_names(model.layers[-1].name) == ["a b", "z.z", "ü"] == list(three.classes)


def test_only_the_head_is_trainable_and_features_pass_through_the_stores_dtype(store):
    model = assemble_model(store, "svm")
    assert [weight.path.split("/")[0] for weight in model.trainable_weights] == ["classes.cats.dogs"] * 2
    assert model.get_layer("as_stored").compute_dtype == "float16"
    assert model.input_shape == (None, None, None, 3) and model.output_shape == (None, 1)
    assert store.fingerprint[:12] in model.name and "svm" in model.name


def test_a_fitted_head_need_not_be_saved(store):
    X, y = store.load("train")
    head = make_head("ridge").fit(X, y)
    image = photo_of(store, 0)
    found = assemble_model(store, head).predict(image[None], verbose=0)[0, 0]
    assert found == pytest.approx(head.predict_proba(store.load()[0][:1])[0, 1], abs=1e-5)


def test_the_callers_dtype_policy_has_no_effect(store):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = assemble_model(store, "mlp")
    finally:
        keras.config.set_dtype_policy("float32")
    assert {layer.compute_dtype for layer in model.layers} == {"float32", "float16"}


@pytest.mark.parametrize("name", ["knn", "forest"])
def test_heads_without_keras_layers_are_errors_that_give_an_alternative(store, name):
    X, y = store.load("train")
    with pytest.raises(HeadError, match=f"{name} head cannot be expressed.*predict.*logistic"):
        assemble_model(store, make_head(name).fit(X, y))


def test_heads_that_do_not_belong_to_the_store_are_errors(store, three):
    with pytest.raises(HeadError, match="no head 'forest'"):
        assemble_model(store, "forest")
    with pytest.raises(HeadError, match="not trained yet"):
        assemble_model(store, make_head("ridge"))
    with pytest.raises(HeadError, match="slides' model ends in a dense head, not ridge"):
        assemble_model(store, "ridge", form="slides")
    with pytest.raises(HeadError, match="form 'cube'"):
        assemble_model(store, "ridge", form="cube")
    with pytest.raises(StoreMismatch, match="trained on classes"):
        assemble_model(store, load_head(three.heads_directory / "ridge"))
    with pytest.raises(StoreMismatch, match=r"classes \[0, 5\]"):
        X, y = store.load("train")
        assemble_model(store, make_head("ridge").fit(X, 5 * y))
    with pytest.raises(StoreMismatch, match="features of shape"):
        assemble_model(store, make_head("ridge").fit(X[:, 0], y))
    other = load_head(store.heads_directory / "ridge")
    other.fingerprint_ = "0" * 64
    with pytest.raises(StoreMismatch, match="fingerprint") as caught:
        assemble_model(store, other)
    assert caught.value.differences == [("fingerprint", store.fingerprint, "0" * 64)]


def test_a_model_with_a_finetuned_head_includes_the_layers_above_the_cut(tmp_path):
    from pipeline.finetune import finetune_head
    from tests.finetune.test_finetune import DENSE, TUNED, tiny_conv_base, tiny_spec

    tiny_conv_base(tmp_path / "tiny.keras")
    images = scan_images(photo_folder(tmp_path / "photos", 10))
    store = extract_features(images, tmp_path / "cache", tiny_spec(tmp_path))
    finetune_head(store, params=TUNED | {"epochs": 1}, dense=DENSE)
    export_model(store, "finetuned", tmp_path / "model.keras")
    agreement = verify_model(store, tmp_path / "model.keras")
    assert agreement.holds and agreement.largest < 1e-5


def test_the_slides_model_has_the_slides_table(tmp_path):
    images = scan_images(photo_folder(tmp_path / "photos", 8), validation=0.4)
    store = extract_features(images, tmp_path / "cache", ConvBaseSpec("vgg16", weights="random", precision="float32"))
    train_heads(store, ["dense"], params={"dense": {"epochs": 1}})
    model = assemble_model(store, "dense", form="slides")
    table = [(type(layer).__name__, layer.output.shape, layer.count_params()) for layer in model.layers]
    assert table == [
        ("Functional", (None, 4, 4, 512), 14_714_688),
        ("Flatten", (None, 8192), 0),
        ("Dense", (None, 50), 409_650),
        ("Dense", (None, 25), 1_275),
        ("Dense", (None, 1), 26),
    ]
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    summary = "\n".join(lines)
    for total in ("Total params: 15,125,639", "Trainable params: 410,951", "Non-trainable params: 14,714,688"):
        assert total in summary
    assert model.input_shape == (None, 150, 150, 3)
