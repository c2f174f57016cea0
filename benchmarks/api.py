"""How fast ocli asks an OpenAI-compatible server, against what the server could answer at best and against other tools.

    python benchmarks/api.py                              5,000 questions to a server that answers each after 50 ms
    python benchmarks/api.py --lm-eval PYTHON --inspect PYTHON     and the same through these tools

    PYTHON is the interpreter of an environment with lm-eval[api]==0.4.13, or with inspect-ai==0.3.285 and openai.

All tools ask one server in a process of its own, the same questions, as many at once, each tool in a fresh process and with
all that it does: reading data, prompts, keeping replies, scoring, progress. ``bare`` is an aiohttp client that keeps nothing, and
so what this machine can do. Ideal is as many replies a second as requests at once divided by the delay.

Replies a second are taken at the server, from the first request to the last reply; start-up and scoring are not in them.
CPU a request is that of a second run with a tenth of the questions taken off, so that start-up is not in it either; each run is
made ``--repeat`` times, and the best one counts. Prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PORT = multiprocessing.Value("i", 0)
COUNT = multiprocessing.Value("i", 0)
FIRST, LAST = multiprocessing.Value("d", 0.0), multiprocessing.Value("d", 0.0)

CHOICE = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "The answer is B."}}
REPLY = json.dumps(
    {
        "id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [CHOICE],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
    }
).encode()  # fmt: skip
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(REPLY) + REPLY

TASK_LM_EVAL = """
task: bench
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["###"], max_gen_toks: 16, temperature: 0}
metric_list: [{metric: exact_match}]
"""
TASK_INSPECT = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample, json_dataset
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

@task
def bench():
    rows = json_dataset("rows.jsonl", lambda row: Sample(input=row["question"], target=row["answer"]))
    return Task(dataset=rows, solver=generate(), scorer=includes())
"""
TASK_OCLI = """
data: {local: ./rows.jsonl, fields: {target: answer}}
prompt: bench
sampling: {temperature: 0, max_tokens: 16}
score: [{extract: text, metric: accuracy}]
"""


class Connection(asyncio.Protocol):
    """One connection of the server: it reads no more of a request than where it ends."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, _, rest = self.buffer.partition(b"\r\n\r\n")
        size = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        if size and len(rest) >= int(size[1]):
            self.buffer = b""
            FIRST.value = FIRST.value or time.monotonic()
            asyncio.get_running_loop().call_later(self.delay, self.answer)

    def answer(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(ANSWER)
            COUNT.value += 1
            LAST.value = time.monotonic()


def serve(delay: float) -> None:
    """Serve until the process is ended."""

    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Connection(delay), "127.0.0.1", 0, backlog=1024)
        PORT.value = server.sockets[0].getsockname()[1]
        await server.serve_forever()

    asyncio.run(forever())


@contextmanager
def serving(delay: float) -> Iterator[str]:
    """Serve in a process of its own while the block runs."""
    process = multiprocessing.Process(target=serve, args=(delay,), daemon=True)
    process.start()
    while not PORT.value:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{PORT.value}/v1"
    finally:
        process.terminate()
        process.join()


def write_files(url: str, questions: int, at_once: int) -> None:
    """Write what the tools read into the working directory."""
    rows = [
        {"question": f"下列关于网络协议的说法中，第{number}条正确的一项是____。" * 4, "answer": "B"}
        for number in range(questions)
    ]
    Path("rows.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    Path("bench.yaml").write_text(TASK_LM_EVAL, encoding="utf-8")
    Path("bench.py").write_text(TASK_INSPECT, encoding="utf-8")
    Path("prompts").mkdir(exist_ok=True)
    block = "{% block user %}{{ question }}{% endblock %}{% block assistant %}{{ target }}{% endblock %}"
    Path("prompts/bench.jinja").write_text(block, encoding="utf-8")
    Path("task.yaml").write_text(TASK_OCLI, encoding="utf-8")
    Path("model.yaml").write_text(
        json.dumps({"engine": "openai", "path": "m", "base_url": url, "concurrency": at_once}), encoding="utf-8"
    )


def commands(url: str, at_once: int, arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Return each tool's command."""
    found = {
        "bare": [sys.executable, __file__, "--bare", url, "--at-once", str(at_once)],
        "ocli": [sys.executable, "-m", "ocli", "eval", "-m", "model.yaml", "-t", "task.yaml"],
    }
    if arguments.lm_eval:
        server = f"model=m,base_url={url}/chat/completions,num_concurrent={at_once},max_retries=3,tokenized_requests=False"
        found["lm-eval"] = [
            arguments.lm_eval, "-m", "lm_eval", "--model", "local-chat-completions", "--model_args", server,
            "--tasks", "bench", "--include_path", ".", "--apply_chat_template", "--output_path", "lm_eval", "--log_samples",
        ]  # fmt: skip
    if arguments.inspect:
        found["inspect-ai"] = [
            arguments.inspect, "-m", "inspect_ai", "eval", "bench.py", "--model", "openai/m", "--model-base-url", url,
            "--max-connections", str(at_once), "--max-samples", str(at_once), "--display", "plain", "-M", "responses_api=false",
        ]  # fmt: skip
    return found


def run(command: list[str], questions: int) -> tuple[float, float, float]:
    """Run one tool; return its replies a second, its CPU seconds and its seconds in all."""
    COUNT.value, FIRST.value, LAST.value = 0, 0.0, 0.0
    environment = {**os.environ, "OPENAI_API_KEY": "none", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode or COUNT.value < questions:
        raise SystemExit(f"{command[:4]}: asked {COUNT.value} of {questions}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return questions / (LAST.value - FIRST.value), cpu, seconds


def measure(url: str, at_once: int, arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Run every tool and return its best figures."""
    figures: dict[str, dict[str, float]] = {}
    few, many = arguments.questions // 10, arguments.questions
    tools: Callable[[], dict[str, list[str]]] = lambda: commands(url, at_once, arguments)  # noqa: E731
    for name, command in tools().items():
        write_files(url, few, at_once)
        start = min(run(command, few)[1] for _ in range(arguments.repeat))
        write_files(url, many, at_once)
        runs = [run(command, many) for _ in range(arguments.repeat)]
        cpu = (min(cpu for _, cpu, _ in runs) - start) / (many - few)
        rate = max(rate for rate, _, _ in runs)
        ideal = at_once / arguments.delay
        figures[name] = {
            "replies_s": round(rate), "of_ideal": round(rate / ideal, 3), "cpu_ms": round(1000 * cpu, 2),
            "command_s": round(min(seconds for _, _, seconds in runs), 1),
        }  # fmt: skip
        told = figures[name]
        print(
            f"{at_once:4} at once  {name:10} {told['replies_s']:6} replies/s  {told['of_ideal']:6.1%} of ideal  "
            f"{told['cpu_ms']:6.2f} ms CPU a request  {told['command_s']:6.1f} s in all"
        )
    return figures


async def bare(url: str, at_once: int) -> None:
    """Ask all questions and keep nothing."""
    import aiohttp

    bodies = [
        {"model": "m", "messages": [{"role": "user", "content": json.loads(line)["question"]}], "max_tokens": 16}
        for line in Path("rows.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    left = iter(bodies)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work() -> None:
            for body in left:
                async with session.post(f"{url}/chat/completions", json=body) as reply:
                    await reply.json()

        await asyncio.gather(*(work() for _ in range(at_once)))


def main() -> None:
    """Start the server, run the tools, print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=5000)
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--at-once", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--lm-eval", metavar="PYTHON")
    parser.add_argument("--inspect", metavar="PYTHON")
    parser.add_argument("--bare", metavar="URL", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        asyncio.run(bare(arguments.bare, arguments.at_once[0]))
        return
    with tempfile.TemporaryDirectory() as folder, serving(arguments.delay) as url:
        os.chdir(folder)
        figures = {at_once: measure(url, at_once, arguments) for at_once in arguments.at_once}
    print(json.dumps({"questions": arguments.questions, "delay_s": arguments.delay, "at_once": figures}))


if __name__ == "__main__":
    main()
