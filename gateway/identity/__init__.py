"""Who is calling: keys, principals, and the directory that both are looked up in."""
