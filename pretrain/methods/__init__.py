"""Pre-training methods, one file each: ``base.py`` says what a method is, ``registry.py`` finds them by name.

This package imports nothing by itself, so that the names of the methods can be listed without torch.
"""
