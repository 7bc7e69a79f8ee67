"""What the gateway answers itself, on the public port and on the ops port.

Each endpoint is one file and one entry in the table of paths. Exchanges with an upstream do not
belong here.
"""
