"""Classification with a frozen encoder: linear probe and k-NN on an image folder, as a user calls it."""
