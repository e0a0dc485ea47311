"""What tests of several rooms share: simulated arithmetic, oracles, made runs and projects; and the project's root."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
