"""`rft rubric …`: what a rubric's author does with it, from the first check to judges that people agree with."""
