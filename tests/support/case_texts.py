"""Case files of one entry."""


def einsum(entry: str) -> str:
    return f"kind: einsum\ncases:\n  one: {entry}\n"


def attention(entry: str) -> str:
    return f"kind: attention\ncases:\n  one: {entry}\n"
