"""The pictures of README and docs: ``python -m tests.screenshots`` takes them anew."""
