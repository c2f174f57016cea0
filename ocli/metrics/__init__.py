"""Metrics: (answer, target) -> score between 0 and 1. One decorated function each; its name is its name.

A metric is ``(answer: pl.Expr, target: pl.Expr, *, options...) -> pl.Expr``. A null answer scores 0.
"""
