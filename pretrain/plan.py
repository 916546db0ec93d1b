"""What a pre-training run will cost before it is started: parameters, FLOPs, memory, hours."""
