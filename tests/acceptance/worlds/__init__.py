"""What the acceptance tests stand on: a machine with its state directory, a server that counts, databases, journals."""
