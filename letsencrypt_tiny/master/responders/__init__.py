"""How each type of challenge is answered while a run lasts."""
