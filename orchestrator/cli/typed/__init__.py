"""What can be typed, and the help that says so: a module for each group of commands."""
