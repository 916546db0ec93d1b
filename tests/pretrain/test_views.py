"""Views: both engines agree, parameters follow the distributions of torchvision, every kind of image is read."""
