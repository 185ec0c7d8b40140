"""Tiny directories with random weights in the formats of Hugging Face and timm."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

HIDDEN, MLP, PATCH, SIDE, LAYERS = 8, 16, 8, 16, 2
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]


def write(directory: Path, config: dict, tensors: dict[str, tuple[int, ...]], **files: dict) -> Path:
    """Write config.json, model.safetensors with random tensors of the given shapes, and other JSON files."""
    directory.mkdir()
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=shape).astype(np.float32) * 0.5 for name, shape in tensors.items()}
    for name in values:
        if name.endswith("running_var"):
            values[name] = np.abs(values[name]) + 0.5
    save_file(values, directory / "model.safetensors")
    for name, content in {"config": config, **files}.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    return directory


def dense(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (HIDDEN,), f"{name}.bias": (HIDDEN,)}


def embeddings(prefix: str, positions: int, *tokens: str) -> dict[str, tuple[int, ...]]:
    return {
        **{f"{prefix}embeddings.{token}": (1, 1, HIDDEN) for token in tokens},
        f"{prefix}embeddings.position_embeddings": (1, positions, HIDDEN),
        f"{prefix}embeddings.patch_embeddings.projection.weight": (HIDDEN, 3, PATCH, PATCH),
        f"{prefix}embeddings.patch_embeddings.projection.bias": (HIDDEN,),
    }


def attention(layer: str) -> dict[str, tuple[int, ...]]:
    names = [*(f"attention.attention.{part}" for part in ("query", "key", "value")), "attention.output.dense"]
    return {key: shape for name in names for key, shape in dense(f"{layer}.{name}", HIDDEN, HIDDEN).items()}


def vit_config(model_type: str = "vit") -> dict:
    return {
        "model_type": model_type, "image_size": SIDE, "patch_size": PATCH, "num_hidden_layers": LAYERS,
        "num_attention_heads": 2, "hidden_size": HIDDEN, "intermediate_size": MLP, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0, "qkv_bias": True, "layer_norm_eps": 1e-12,
        "id2label": {"0": "cat", "1": "dog"},
    }  # fmt: skip


def write_vit(directory: Path, model_type: str = "vit", **changes: object) -> Path:
    """Write a ViT, or a DeiT, which has a token for distillation."""
    tokens = ("cls_token", "distillation_token") if model_type == "deit" else ("cls_token",)
    tensors = {**embeddings(f"{model_type}.", 4 + len(tokens), *tokens), **norm(f"{model_type}.layernorm")}
    for i in range(LAYERS):
        layer = f"{model_type}.encoder.layer.{i}"
        tensors |= attention(layer) | norm(f"{layer}.layernorm_before") | norm(f"{layer}.layernorm_after")
        tensors |= dense(f"{layer}.intermediate.dense", HIDDEN, MLP) | dense(f"{layer}.output.dense", MLP, HIDDEN)
    preprocessor = {"image_mean": MEAN, "image_std": STD, "rescale_factor": 1 / 255, "do_normalize": True}
    config = {**vit_config(model_type), **changes}
    return write(directory, config, tensors, preprocessor_config=preprocessor)


def write_dinov2(directory: Path, registers: int = 0) -> Path:
    """Write a DINOv2 whose position embeddings are for images of 24x24, with register tokens."""
    config = {
        "model_type": "dinov2_with_registers" if registers else "dinov2", "image_size": 3 * PATCH, "patch_size": PATCH,
        "num_hidden_layers": LAYERS, "num_attention_heads": 2, "hidden_size": HIDDEN, "mlp_ratio": 2,
        "layerscale_value": 1.0, "use_swiglu_ffn": False, "hidden_dropout_prob": 0.0, "drop_path_rate": 0.0,
        "num_register_tokens": registers,
    }  # fmt: skip
    tensors = {**embeddings("", 10, "cls_token"), "embeddings.mask_token": (1, HIDDEN), **norm("layernorm")}
    if registers:
        tensors["embeddings.register_tokens"] = (1, registers, HIDDEN)
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}"
        tensors |= attention(layer) | norm(f"{layer}.norm1") | norm(f"{layer}.norm2")
        tensors |= dense(f"{layer}.mlp.fc1", HIDDEN, MLP) | dense(f"{layer}.mlp.fc2", MLP, HIDDEN)
        tensors |= {f"{layer}.layer_scale{n}.lambda1": (HIDDEN,) for n in (1, 2)}
    return write(directory, config, tensors)


def write_timm_resnet18(directory: Path) -> Path:
    """Write ResNet-18 as timm does, 11 million parameters: keras-hub takes no smaller one."""

    def conv(name: str, inputs: int, outputs: int, side: int = 3) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (outputs, inputs, side, side)}

    def batch_norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}

    tensors = conv("conv1", 3, 64, 7) | batch_norm("bn1", 64)
    inputs = 64
    for stage, channels in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            layer = f"layer{stage}.{block}"
            tensors |= conv(f"{layer}.conv1", inputs, channels) | batch_norm(f"{layer}.bn1", channels)
            tensors |= conv(f"{layer}.conv2", channels, channels) | batch_norm(f"{layer}.bn2", channels)
            if inputs != channels:
                tensors |= conv(f"{layer}.downsample.0", inputs, channels, 1)
                tensors |= batch_norm(f"{layer}.downsample.1", channels)
            inputs = channels
    config = {"architecture": "resnet18", "num_classes": 10, "pretrained_cfg": {"mean": MEAN, "std": STD}}
    return write(directory, config, tensors)
