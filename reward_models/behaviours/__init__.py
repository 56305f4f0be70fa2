"""The rules that ship: behaviours of an agent that can be decided from its transcript alone."""
