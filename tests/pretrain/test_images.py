"""Images: lists, order, shards, resume, replacement draws, workers that neither hang nor outlive their parent."""
