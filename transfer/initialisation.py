"""What --weights may say: a checkpoint, random, detectron2-random, torchvision:FILE or msra:FILE."""
