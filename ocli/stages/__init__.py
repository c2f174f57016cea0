"""The verbs: ``infer`` asks, ``score`` judges, ``report`` tells. Each reads the run directory and writes it."""
