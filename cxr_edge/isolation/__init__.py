"""Decoding in child processes, so that a decoder's crash or hang costs one image and not the run."""
