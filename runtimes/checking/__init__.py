"""The parts of `check.py`: what cases expect, and the two places that they are played at."""
