"""`gateway probe`: a self-test from outside, through every hop that lies before the gateway."""
