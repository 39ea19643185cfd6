"""How the hub is reached: the proxy, which proxies the hub trusts, and which requests from browsers it answers."""
