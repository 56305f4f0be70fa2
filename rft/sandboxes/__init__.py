"""Where commands run: places that hold one copy of a task's start state and are thrown away afterwards."""
