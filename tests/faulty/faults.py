"""All faults, in the order in which their files define them."""

from tests.faulty import attention_faults, einsum_faults  # noqa: F401 - defining a fault records it
from tests.faulty.fault import FAULTS, Fault, Finding, caught

__all__ = ["FAULTS", "Fault", "Finding", "caught"]
