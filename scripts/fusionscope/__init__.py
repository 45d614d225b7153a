"""fusionscope: train pairs of networks, fuse them, and measure parents and children.

The library is plain PyTorch and NumPy. It knows no file layout, no configuration object and no
workflow engine: every function takes tensors, networks and numbers and returns values, so all of
it can be used from a notebook.
"""
