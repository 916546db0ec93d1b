"""The detector of a Detectron2 config, and the proof that its backbone is the file it was asked to load."""
