"""How connections reach the network and how they look from there: servers, TLS, our addresses, user names, proxies."""
