"""The recipes of the tutorials, against a real local server in place of the API or the LMDeploy server they name."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Ocli
from server import chat_answer, serving

RECIPES = Path(__file__).parents[1] / "recipes"


@pytest.mark.parametrize(
    ("recipe", "model", "key", "subjects"),
    [
        ("cmmlu_internlm_api", "internlm_api", "INTERNLM_API_KEY", 67),
        ("ceval_moonshot", "moonshot_v1_8k", "MOONSHOT_API_KEY", 52),
        ("ceval_lmdeploy", "lmdeploy", None, 52),
    ],
)
def test_recipe_gives_a_row_a_subject_and_keeps_no_key(
    ocli: Ocli, shared_data: Path, monkeypatch: pytest.MonkeyPatch, recipe: str, model: str, key: str | None, subjects: int
) -> None:
    if key:
        monkeypatch.setenv(key, "a-secret-that-stays-here")
    with serving(lambda path, body: chat_answer("答案: B"), models=("internlm2_5-1_8b-chat",)) as server:
        settings = ("--set", f"model.base_url={server.url}", "--limit", 3 * subjects, "--data-dir", shared_data)
        done = ocli("eval", RECIPES / f"{recipe}.yaml", *settings)
    assert done.rc == 0, done.err
    assert len(server.seen) == 3 * subjects
    table = (done.run / "summary" / "summary.csv").read_text(encoding="utf-8").splitlines()
    assert table[0] == f"dataset,version,metric,mode,{model}"
    assert sum(line.split(",")[0].split("-", 1)[-1] not in GROUPS for line in table[1:] if "-" in line.split(",")[0]) == subjects
    assert "PARTIAL" in done.out
    assert all(
        headers["authorization"] == f"Bearer {'a-secret-that-stays-here' if key else 'none'}" for *_, headers in server.seen
    )
    for path in done.run.rglob("*"):
        assert not path.is_file() or b"a-secret-that-stays-here" not in path.read_bytes()


GROUPS = {"stem", "humanities", "other", "hard", "social-science", "china-specific"}


def test_lmdeploy_recipe_asks_the_server_which_model_it_serves(ocli: Ocli, shared_data: Path) -> None:
    with serving(lambda path, body: chat_answer("B"), models=("internlm2_5-1_8b-chat",)) as server:
        address = ("--set", f"model.base_url={server.url}")
        done = ocli("eval", RECIPES / "ceval_lmdeploy.yaml", *address, "--limit", 52, "--data-dir", shared_data)
    assert {body["model"] for _, body, _ in server.seen} == {"internlm2_5-1_8b-chat"}
    assert "internlm2_5-1_8b-chat at http://127.0.0.1" in done.err
    assert "served_model: internlm2_5-1_8b-chat" in (done.run / "configs" / "recipe.yaml").read_text(encoding="utf-8")


def test_missing_key_is_one_line_before_anything_is_read(ocli: Ocli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOONSHOT_API_KEY", raising=False)
    done = ocli("eval", RECIPES / "ceval_moonshot.yaml")
    assert (done.rc, done.out) == (2, "")
    assert done.err.startswith("ocli: the environment variable MOONSHOT_API_KEY is not set: export MOONSHOT_API_KEY=...")
    assert not Path("outputs").exists()
