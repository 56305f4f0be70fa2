"""The stage `evaluate`: a round's policy on held-out tasks, held against the rounds before."""
