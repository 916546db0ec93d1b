"""Tests of transfer/detector.py."""
