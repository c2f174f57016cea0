"""What the openai engine is made of: the server's address and key, reading replies, and two ways of getting likelihoods."""
