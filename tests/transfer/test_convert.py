"""Tests of transfer/convert.py."""
