"""Coverage-guided fuzzing of what reads bytes that others wrote: ``python -m fuzz``.

Not a part of dvsync: it needs the extra ``fuzz``.
"""
