"""Measure the pipeline against the hardware, the common way and the slides' way, side by side.

    python -m scripts.bench [--scale 1] [--data FOLDER] [--parts limit,ways,...] [--json FILE] [--plot FILE]

Runs from the root of the checkout, on Linux or macOS. Each part is a module with a function
`measure`; what is compared is measured in turn, A B A B, and medians are quoted. VGG16 has random
weights: its speed does not depend on them. About 3 GB of temporary space and of memory are needed.
"""
