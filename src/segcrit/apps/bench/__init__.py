"""Time and memory of each loss beside a copy of the logits, PyTorch eager and compiled, and the installed peers.

``segcrit bench`` measures a shape of the user's, ``benchmarks/run.py`` the project's own shapes and targets; both are made
of this room. Nothing is imported here: what a measurement needs is heavy.
"""
