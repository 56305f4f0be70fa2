"""How many things run at once: one by one, in threads of this process, or in Ray actors."""
