"""Decides who may pass: credentials, tokens, signing keys, one-use tokens, origins and CORS.

Here belongs every check of an identity. This room knows neither routes nor upstreams nor limits.
"""
