"""Tests of pretrain/studies."""
