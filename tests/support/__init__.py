"""Shared by tests of several rooms: simulated arithmetic, oracles, made-up runs and projects; and the root folder."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
