"""Reading runs item by item: what the HTML report holds and ``ocli view`` serves.

``Book`` knows the runs. A ``Table`` lines up one task's replies of all models in memory, a few bytes a reply; a ``Part`` is one
model's replies to one task, on disk (``results/``) or, while ``infer`` runs, read from the predictions so far (``live``). Replies
and prompts are read from the predictions files only where they are shown (``lines``).
"""

from ocli.stages.browse.book import Book

__all__ = ["Book"]
