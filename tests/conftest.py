"""Settings of all tests."""

from hypothesis import settings

# The machine may be busy with other work, so no test fails for being slow; examples differ from run to run.
settings.register_profile("solon", deadline=None)
settings.load_profile("solon")
