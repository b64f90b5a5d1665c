"""Signals in, messages out; and the worker, which does what happens later."""
