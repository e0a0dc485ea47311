"""Which backends exist, and what each of them offers on this machine."""
