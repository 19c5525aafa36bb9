"""How each challenge type is made ready to be validated (RFC 8555 §8): a solver each."""
