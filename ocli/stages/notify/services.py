"""What each service is sent. Whatever a recipe, a model or an error says is text there and never markup.

Feishu and Lark: custom bot, an interactive card; at most 20 KB; signed by HMAC-SHA256 with the key "timestamp\\nsecret" over
nothing, timestamp in seconds, both in the body (open.feishu.cn/document/client-docs/bot-v3/add-custom-bot). It is all
``plain_text``.
DingTalk: custom robot, ``markdown``; at most 20,000 bytes; signed by HMAC-SHA256 with the secret over "timestamp\\nsecret",
timestamp in milliseconds, both in the URL (open.dingtalk.com/document/orgapp/custom-robots-send-group-messages).
WeCom: group robot, ``markdown``; at most 4096 bytes (developer.work.weixin.qq.com/document/path/91770).
Slack: incoming webhook, blocks; a header has at most 150 characters, a text 3000 (docs.slack.dev/reference/block-kit/blocks);
``plain_text`` and preformatted rich text are not read as markup, the fallback ``text`` is, where & < > are escaped.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from ocli import __version__
from ocli.stages.tables import Row, aligned, printed
from ocli.terminal import cut

if TYPE_CHECKING:
    from ocli.stages.report import Summary, SummaryRow

LONGEST = 500
"""Characters of one line: an error may be a whole page."""


def one_line(text: str, longest: int = LONGEST) -> str:
    """Return a text without line breaks and characters that control how it is shown."""
    return cut(re.sub("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\\s]+", " ", text).strip(), longest)


@dataclass(frozen=True)
class Notice:
    """What there is to tell."""

    event: str
    words: str
    recipe: str
    models: list[str]
    tasks: list[str]
    run: str | None
    seconds: float
    unscored: int = 0
    error: str | None = None
    summary: Summary | None = field(default=None, repr=False)

    @property
    def title(self) -> str:
        """What happened, in a line."""
        return one_line(f"ocli {self.recipe}: {self.words}", 120)

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Names and texts, a line each."""
        facts = [("reason", self.error or ""), ("models", ", ".join(self.models)), ("tasks", ", ".join(self.tasks))]
        facts += [("run", self.run or ""), ("host", socket.gethostname())]
        facts += [("time taken", duration(self.seconds))] if self.event != "started" else []
        return [(name, one_line(text)) for name, text in facts if text]

    @property
    def headlines(self) -> list[SummaryRow]:
        """A row for each task and model, those of a task together."""
        rows = [row for row in self.summary.rows if row.is_headline and row.task] if self.summary else []
        return sorted(rows, key=lambda row: self.tasks.index(row.task or ""))

    @property
    def scores(self) -> list[Row]:
        """Task, metric, model, score, interval."""
        return [tuple(one_line(cell, 80) for cell in _cells(row)) for row in self.headlines]

    def to_json(self) -> dict[str, Any]:
        """Return all of it, as the plain webhook gets it."""
        names = ("event", "recipe", "run", "models", "tasks", "unscored", "error")
        told = {name: getattr(self, name) for name in names}
        rows = [row.to_json() for row in self.headlines]
        table = "\n".join(aligned(self.scores, right=(3,))) if rows else None
        about = {"seconds": round(self.seconds, 1), "host": socket.gethostname(), "ocli": __version__}
        return {**told, **about, "rows": rows, "table": table}


def _cells(row: SummaryRow) -> Row:
    interval = f"({row.ci95[0]:.2f} to {row.ci95[1]:.2f})" if row.ci95 else ""
    return row.task or row.dataset, row.metric, row.model, printed(row), interval


def duration(seconds: float) -> str:
    """Return ``2 h 05 min``, ``3 min 20 s`` or ``7 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


@dataclass(frozen=True)
class Message:
    """The body of a request, and what is added to its URL."""

    body: dict[str, Any]
    query: dict[str, str] = field(default_factory=dict)


COLOURS = {"started": "blue", "finished": "green", "failed": "red"}


def feishu(notice: Notice, secret: str | None, now: float) -> Message:
    """Return a card; Lark is the same."""
    facts = "\n".join(f"{name}: {text}" for name, text in notice.facts)
    scores = "\n".join(fitted([_sentence(row) for row in notice.scores], 12_000))
    elements = [{"tag": "div", "text": {"tag": "plain_text", "content": text}} for text in (facts, scores) if text]
    colour = "orange" if notice.unscored else COLOURS[notice.event]
    header = {"title": {"tag": "plain_text", "content": notice.title}, "template": colour}
    card = {"config": {"wide_screen_mode": True}, "header": header, "elements": elements}
    signature = {}
    if secret:
        stamp = str(int(now))
        signature = {"timestamp": stamp, "sign": _signature(f"{stamp}\n{secret}", "")}
    return Message({**signature, "msg_type": "interactive", "card": card})


def dingtalk(notice: Notice, secret: str | None, now: float) -> Message:
    """Return Markdown, its lines as a list: a lone line break is not shown."""
    lines = [f"### {_bare(notice.title)}", ""]
    lines += [f"- **{name}**: {_bare(text)}" for name, text in notice.facts]
    scores = fitted([f"- {_bare(_sentence(row))}" for row in notice.scores], 12_000)
    lines += ["", "#### scores", "", *scores] if scores else []
    query = {}
    if secret:
        stamp = str(round(now * 1000))
        query = {"timestamp": stamp, "sign": _signature(secret, f"{stamp}\n{secret}")}
    body = {"msgtype": "markdown", "markdown": {"title": _bare(notice.title), "text": "\n".join(lines)}}
    return Message(body, query)


def wecom(notice: Notice, secret: str | None, now: float) -> Message:
    """Return Markdown of at most 4096 bytes."""
    head = [f"### {_bare(notice.title)}"]
    head += [f"> **{name}**: {_bare(one_line(text, 160))}" for name, text in notice.facts]
    room = 4096 - len("\n".join([*head, ""]).encode())
    scores = fitted([_bare(_sentence(row)) for row in notice.scores], room)
    return Message({"msgtype": "markdown", "markdown": {"content": "\n".join([*head, *scores])}})


def slack(notice: Notice, secret: str | None, now: float) -> Message:
    """Return a header, a section and the scores in columns."""
    facts = "\n".join(f"{name}: {text}" for name, text in notice.facts)
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": notice.title, "emoji": False}},
        {"type": "section", "text": {"type": "plain_text", "text": facts[:3000], "emoji": False}},
    ]
    if scores := "\n".join(fitted(list(aligned(notice.scores, right=(3,))) if notice.scores else [], 2900)):
        text = {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": scores}]}
        blocks.append({"type": "rich_text", "elements": [text]})
    fallback = notice.title.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return Message({"text": fallback, "blocks": blocks})


def webhook(notice: Notice, secret: str | None, now: float) -> Message:
    """Return everything as it is."""
    return Message(notice.to_json())


SERVICES: dict[str, Callable[[Notice, str | None, float], Message]] = {
    "feishu": feishu, "lark": feishu, "dingtalk": dingtalk, "wecom": wecom, "slack": slack, "webhook": webhook,
}  # fmt: skip


MORE = "and {} more: see the run"


def fitted(lines: Sequence[str], room: int) -> list[str]:
    """Return as many lines as fit into so many bytes; what is left out is said."""
    ends = accumulate(len(line.encode()) + 1 for line in lines)
    shown = [line for line, end in zip(lines, ends, strict=True) if end <= room - len(MORE) - 8]
    return shown if len(shown) == len(lines) else [*shown, MORE.format(len(lines) - len(shown))]


def _sentence(row: Row) -> str:
    task, metric, model, score, interval = row
    return f"{task}, {metric}, {model}: {score} {interval}".rstrip()


_TWINS = str.maketrans("<>[]*`#", "＜＞［］＊｀＃")


def _bare(text: str) -> str:
    """Return a text that is no markup for DingTalk and WeCom: they document no escape, so full-width twins stand in."""
    return text.translate(_TWINS)


def _signature(key: str, text: str) -> str:
    return base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()
