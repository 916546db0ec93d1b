"""The checkpoint layouts in the wild: where each keeps the backbone, and how to recognise it."""
