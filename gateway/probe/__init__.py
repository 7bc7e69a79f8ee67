"""`gateway probe`: a test from the client's side, through every hop in front of the gateway."""
