"""``python -m tests.soak``: half an hour of kills, then the proof."""
