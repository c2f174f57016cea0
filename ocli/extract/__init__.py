"""Extractors: reply text -> answer, or null when there is none. One decorated function each; its name is its name.

An extractor is ``(text: pl.Expr, choices: Sequence[str], *, options...) -> pl.Expr``: a polars expression over the
reply's text (a string column), with the answers the question offers (``()`` where the task names none). It never guesses:
what it cannot read is null, and null is counted as unanswered.

One that has several ways to read an answer is decorated with ``ByWays`` below ``@extractor``: it gives a struct of the answer and
the name of the way that read it, which results have in the column ``pattern``. Called, it gives the answer alone all the same.
"""
