"""Tests of case files, equations and the schema."""
