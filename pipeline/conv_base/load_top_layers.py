"""Load the layers of a conv base above a cut, for fine-tuning."""

from pipeline.conv_base.cuts import describe_cuts, single_cuts
from pipeline.conv_base.keras_setup import Model, all_layers, import_keras, one_line, run_isolated
from pipeline.conv_base.load import load_full_model
from pipeline.conv_base.precision import with_precision
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.errors import SpecError, StoreMismatch


def load_top_layers(spec: ConvBaseSpec) -> Model:
    """Load the layers of a conv base above `spec.cut`, with their weights.

    As a layer of another model, the result must be called with `training=False`, as the transfer-learning guide of
    Keras recommends: normalisations then use their stored statistics, and the dropout of some conv bases is off.
    The weights of normalisations are not trainable either.

    The model maps feature maps of shape (b, *shape of the cut), float32, to the conv base's own output, in the spec's
    precision, but in float32 for a spec of float16, in which the small gradients of fine-tuning underflow, or of int8.
    Weights that changed since the spec was resolved raise StoreMismatch.
    """
    return run_isolated(_load_top_layers, spec)


def tuning_precision(spec: ConvBaseSpec) -> str:
    """Return the precision of the layers above a cut."""
    return "float32" if spec.precision in ("float16", "int8") else spec.precision


def _load_top_layers(spec: ConvBaseSpec) -> Model:
    keras = import_keras()
    if spec.cut is None:
        raise SpecError(f"{spec.conv_base} is not cut, so there are no layers above a cut")
    full = load_full_model(spec)
    if spec.weights_sha256 not in (None, full.spec.weights_sha256):
        now, stored = str(full.spec.weights_sha256), str(spec.weights_sha256)
        raise StoreMismatch(
            f"the weights of {spec.conv_base} ({full.sources['weights']}) have sha256 {now[:12]}, the feature maps "
            f"were made with {stored[:12]}; restore the weights that were there then",
            [("weights_sha256", stored, now)],
        )
    if spec.cut not in single_cuts(full.model)[:-1]:
        raise SpecError(
            f"{spec.conv_base} cut at {spec.cut} cannot be fine-tuned: layers above need more than that layer's "
            f"output; {describe_cuts(full.model)}"
        )
    cut = keras.Operation.output.fget(full.model.get_layer(spec.cut))
    try:
        top_layers = keras.Model(cut, full.model.outputs[0], name="upper")
    except (ValueError, AttributeError) as error:  # a skip that `single_cuts` does not see
        raise SpecError(f"{spec.conv_base} cannot be cut at {spec.cut!r}: {one_line(error)}") from error
    top_layers = with_precision(top_layers, tuning_precision(spec))
    for layer in all_layers(top_layers):
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    return top_layers
