"""Kill, starve, flip, contradict and feed garbage to the pipeline, and look at what is left.

    python -m scripts.torture [--images FOLDER] [--n N] [--parts a,b,c,d,e,f]

Runs from the root of the checkout, on Linux. Stage one runs as a user's would, in child processes,
on a stand-in for the conv base; only the part that times the syncs can be asked to load VGG16.
"""
