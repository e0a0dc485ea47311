"""What all tests of the suite share."""

from hypothesis import settings

# How long an example takes says how busy the machine is, and nothing about the suite
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
