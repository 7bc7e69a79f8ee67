"""Settings that hold for every test."""

from hypothesis import settings

# A busy machine makes an example slow without making it wrong.
settings.register_profile("gateway", deadline=None)
settings.load_profile("gateway")
