"""`JoinedSpec`: what determines the features of a joined store, those of several conv bases side by side."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.conv_base.fingerprint import hash_identity
from pipeline.conv_base.spec import ConvBaseSpec

FORMAT = 1  # raised when the same parts give other features than before
PRECISIONS = ("int8", "bfloat16", "float16", "float32")  # the least exact first


@dataclass(frozen=True)
class JoinedSpec:
    """The specs of several conv bases, whose features are averaged over their positions and concatenated.

    `parts` are resolved specs, at least two. The features of each are rounded to its own `store_dtype` before they
    are averaged, in float32.
    """

    parts: tuple[ConvBaseSpec, ...]

    # Attributes that `ConvBaseSpec` has, too.
    view = None
    store_dtype = "float32"

    @property
    def name(self) -> str:
        """The names of the conv bases: `mobilenet_v2+squeezenet`."""
        return "+".join(part.name for part in self.parts)

    @property
    def precision(self) -> str:
        """The least exact precision of the conv bases."""
        return min((part.precision for part in self.parts), key=PRECISIONS.index)

    @property
    def pixel_shape(self) -> tuple[int, ...]:
        """The shape of a decoded image: its pixels for each conv base, one after the other."""
        return (sum(int(np.prod(part.pixel_shape)) for part in self.parts),)

    def identity(self) -> dict[str, Any]:
        """Return what the features depend on, see `ConvBaseSpec.identity`."""
        return {
            "format": FORMAT,
            "joined": [part.identity() for part in self.parts],
            "pool": "avg",
            "store_dtype": self.store_dtype,
        }

    @property
    def fingerprint(self) -> str:
        """The sha256 of `identity`, 64 hexadecimal digits."""
        return hash_identity(self.identity())

    def decode_image(self, data: bytes) -> np.ndarray:
        """Decode an image file as each conv base takes it; return the pixels as `pixel_shape` describes, float32."""
        return np.concatenate([part.decode_image(data).reshape(-1) for part in self.parts])

    def split_pixels(self, images: np.ndarray) -> list[np.ndarray]:
        """Return images of shape (b, *pixel_shape) as each conv base takes them, (b, height, width, 3)."""
        stops = np.cumsum([np.prod(part.pixel_shape) for part in self.parts])[:-1]
        pixels = zip(np.split(images, stops, axis=1), self.parts, strict=True)
        return [part_pixels.reshape(-1, *part.pixel_shape) for part_pixels, part in pixels]

    def decode_upright(self, data: bytes) -> np.ndarray:
        """Decode an image file at its own size, as an exported model takes it; see `ConvBaseSpec.decode_upright`."""
        largest = max(self.parts, key=lambda part: part.decoded_at_least or (np.inf, np.inf))
        return largest.decode_upright(data)


AnySpec = ConvBaseSpec | JoinedSpec
