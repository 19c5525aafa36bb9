"""Server keys, signing requests, and the verification of what came back."""
