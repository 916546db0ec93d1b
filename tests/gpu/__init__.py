"""Tests and measurements that need a GPU; ``python -m tests.gpu`` (make gpu) runs all of it in under eight minutes."""
