"""Try to break the pipeline: kills, power cuts, failing disks, flipped bits, other specs and bad images.

    python -m scripts.torture [--images FOLDER] [--n N] [--parts a,b,c,d,e,f,g,h]

It runs on Linux, from the root of the checkout. Stage one runs in child processes, with a fast
replacement for the conv base; only the part that times the syncs can load VGG16.
"""
