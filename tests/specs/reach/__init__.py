"""The table of reach: features, meetings and gaps."""
