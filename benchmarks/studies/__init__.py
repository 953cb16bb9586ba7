"""Measurements that are no benchmark: each file measures, and renders what it stored."""
