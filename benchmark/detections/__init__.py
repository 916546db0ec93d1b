"""What saved detections say: average precision anew, which errors cost it, and how sure a difference is."""
