"""The examples of real teams, walked: forward, back from every stage, each trigger, with a controller that dies."""
