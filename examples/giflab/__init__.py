"""A command line tool that measures GIFs gets a memory monitor: four phases, each with a go or no-go."""
