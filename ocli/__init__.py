"""ocli evaluates large language models: recipes name models and tasks, engines answer, polars scores."""

__version__ = "0.1.0"
