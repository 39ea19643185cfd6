"""How the hub is reached: the proxy, whom it believes, and what browsers may ask of it."""
