"""The report as one HTML file that holds its items: all of them, or of a large run an even part of each task."""

from __future__ import annotations

import gzip
from collections.abc import Sequence

import polars as pl

from ocli.stages.browse import Book
from ocli.stages.browse.table import Table
from ocli.stages.finite import to_json
from ocli.stages.page import render
from ocli.stages.report import Summary

REPLIES = 20_000
"""The file holds at most so many replies,"""
READ = 400 << 20
"""for which at most about so many bytes of predictions are read,"""
BYTES = 20 << 20
"""and whose gzipped items have at most so many bytes."""
SEED = 0


def to_html(summary: Summary) -> str:
    """Return the page with as many items as a browser opens at once; what is left out it says, and how to see it."""
    book = Book.of(summary)
    page = book.page()
    page["live"] = False
    names = [name for name in page["tasks"] if book.state.of(name)]
    shares = _shares(book, names)
    blobs = {name: _blob(book.table(name), share) for name, share in shares.items()}
    size = sum(map(len, blobs.values()))
    if size > BYTES:  # replies that gzip makes little of
        shares = {name: max(1, int(share * 0.9 * BYTES / size)) for name, share in shares.items()}
        blobs = {name: _blob(book.table(name), share) for name, share in shares.items()}
    for name, task in page["tasks"].items():
        task["held"] = min(shares.get(name, 0), task["items"])
    short = [name for name in names if page["tasks"][name]["held"] < page["tasks"][name]["items"]]
    if short:
        page["complete"] = False
        told = ", ".join(f"{page['tasks'][name]['held']} of {page['tasks'][name]['items']} of {name}" for name in short)
        runs = " ".join(str(run.path) for run in book.runs)
        page["notes"].append(f"This file holds a part of the items ({told}); 'ocli view {runs}' shows all")
    return render(page, blobs)


def _shares(book: Book, names: Sequence[str]) -> dict[str, int]:
    """Return how many items of each task the file holds: small tasks whole, the others equally many."""
    costs: dict[str, float] = {}
    """Of the budget, what an item takes: as the share of its replies, or of the bytes that must be read for them."""
    counts: dict[str, int] = {}
    for name in names:
        parts = book.state.of(name).values()
        counts[name] = max(book.table(name).rows["id"].n_unique(), 1)
        replies = sum(part.counts["all"] for part in parts)
        size = sum(part.predictions.stat().st_size for part in parts if part.predictions.is_file())
        costs[name] = max(replies / REPLIES, size / READ) / counts[name]
    left, shares = 1.0, {}
    for rank, name in enumerate(sorted(names, key=lambda name: counts[name] * costs[name])):
        share = min(counts[name], max(1, int(left / (len(names) - rank) / costs[name]))) if costs[name] else counts[name]
        left -= share * costs[name]
        shares[name] = share
    return {name: shares[name] for name in names}


def _blob(table: Table, share: int) -> bytes:
    """Return a task's items as gzipped JSON; a prompt that several models were sent is there once."""
    prompts: dict[str, int] = {}
    items = []
    for item in table.items(_chosen(table.rows, share)):
        for reply in item["replies"].values():
            prompt = {name: reply.pop(name) for name in ("messages", "prompt")}
            told = to_json({name: value for name, value in prompt.items() if value is not None})
            reply["prompt"] = prompts.setdefault(told, len(prompts))
        items.append(to_json(item))
    text = f'{{"prompts": [{",".join(prompts)}],\n"items": [{",".join(items)}]}}'
    return gzip.compress(text.encode(), 6, mtime=0)


def _chosen(rows: pl.DataFrame, share: int) -> pl.Series:
    """Return the numbers of the rows of ``share`` items, drawn by seed and spread over the subsets in proportion to them."""
    items = rows.select("id", "subset").unique("id", maintain_order=True)
    if share < items.height:
        rank = (pl.int_range(pl.len()).shuffle(seed=SEED).over("subset") + 0.5) / pl.len().over("subset")
        items = items.with_columns(rank=rank).bottom_k(share, by="rank")
    return rows.lazy().with_row_index("row").join(items.lazy(), on="id", how="semi").select("row").sort("row").collect()["row"]
