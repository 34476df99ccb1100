"""What holds for every test."""

from hypothesis import settings

# A machine that is busy with two engines is no reason for a property to fail.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
