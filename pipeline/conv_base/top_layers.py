"""`load_top_layers`: the layers above a cut, ready to be tuned on a store's maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.conv_base.cuts import cuts_words, single_cuts
from pipeline.conv_base.keras_setup import all_layers, import_keras, one_line, run_isolated
from pipeline.conv_base.load import load_full_model
from pipeline.conv_base.precision import with_precision
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.errors import SpecError, StoreMismatch

if TYPE_CHECKING:
    import keras


def load_top_layers(spec: ConvBaseSpec) -> keras.Model:
    """The layers of a conv base above `spec.cut`, with their weights.

    Put into another model it is to be called with `training=False`, as the transfer-learning guide
    of Keras has it: normalisations keep to their statistics, and the dropout that some conv bases
    have stays off. Beyond the guide, normalisations are not trainable at all.

    Parameters
    ----------
    spec : ConvBaseSpec
        Of a store, resolved: `cut` is the name of a layer.

    Returns
    -------
    keras.Model
        Maps of shape (None, *shape of the cut), float32, to the conv base's own output, in the
        spec's precision; weights are float32. float16 becomes float32: the small gradients of
        fine-tuning would vanish in it.

    Raises
    ------
    SpecError
        The spec has no cut, or layers above need more than the cut's output; the message lists the
        layers that qualify. Or the conv base cannot be made; see `load_conv_base`.
    StoreMismatch
        The weights are others now than when the spec was resolved.
    """
    return run_isolated(_load_top_layers, spec)


def _load_top_layers(spec: ConvBaseSpec) -> keras.Model:
    keras = import_keras()
    if spec.cut is None:
        raise SpecError(f"{spec.conv_base} is not cut, so there are no layers above a cut")
    whole = load_full_model(spec)
    if spec.weights_sha256 not in (None, whole.spec.weights_sha256):
        found, wanted = str(whole.spec.weights_sha256), str(spec.weights_sha256)
        raise StoreMismatch(
            f"the weights of {spec.conv_base} ({whole.sources['weights']}) have sha256 {found[:12]} now, the maps were "
            f"made with {wanted[:12]}; put back what was there then",
            [("weights_sha256", wanted, found)],
        )
    if spec.cut not in single_cuts(whole.model)[:-1]:
        raise SpecError(
            f"{spec.conv_base} cut at {spec.cut} cannot be fine-tuned: layers above need more than that layer's "
            f"output; {cuts_words(whole.model)}"
        )
    cut = keras.Operation.output.fget(whole.model.get_layer(spec.cut))
    try:
        top_layers = keras.Model(cut, whole.model.outputs[0], name="upper")
    except (ValueError, AttributeError) as error:
        raise SpecError(f"{spec.conv_base} cannot be cut at {spec.cut!r}: {one_line(error)}") from error
    top_layers = with_precision(top_layers, "float32" if spec.precision == "float16" else spec.precision)
    for layer in all_layers(top_layers):
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    return top_layers
