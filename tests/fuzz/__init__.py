"""Differential fuzzing of what reads hostile input; ``make fuzz``, no part of ``make check``."""
