"""Case files of one entry."""


def einsum_file(entry: str) -> str:
    return f"kind: einsum\ncases:\n  one: {entry}\n"


def attention_file(entry: str) -> str:
    return f"kind: attention\ncases:\n  one: {entry}\n"
