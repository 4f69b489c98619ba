"""Tests of tinycore/runtime: contract, registry, buffers, and device packages that misbehave."""
