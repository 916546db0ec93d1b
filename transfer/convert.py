"""Any ResNet-50 checkpoint in, Detectron2 weights out, or a non-zero exit that says why: `python transfer/convert.py FILE`."""
