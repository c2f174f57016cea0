"""Extractors: reply text -> answer, or null when there is none. One decorated function each; its name is its name.

An extractor is ``(text: pl.Expr, choices: Sequence[str], *, options...) -> pl.Expr``: a polars expression over the
reply's text (a string column), with the answers the question offers (``()`` where the task names none). It never guesses:
what it cannot read is null, and null is counted as unanswered.
"""
