"""Join stores of the same images: the features of several conv bases side by side, as one store."""
