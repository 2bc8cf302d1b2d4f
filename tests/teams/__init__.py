"""The examples of five teams, walked: forward, back from every stage, each trigger, with a controller that dies."""
