"""Compare the pipeline with the limit of the hardware, with the common way and with end-to-end training.

    python -m scripts.bench [--scale 1] [--data FOLDER] [--parts limit,ways,...] [--json FILE] [--plot FILE]

Run it from the root of the checkout, on Linux or macOS. Each part is a module with a function
`measure`. Things that are compared are measured alternately (A B A B), and medians are reported. VGG16
has random weights, because its speed does not depend on them. The bench needs about 3 GB of temporary
space and 3 GB of memory.
"""
