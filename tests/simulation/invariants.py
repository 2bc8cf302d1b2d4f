def check(simulation):
    return []
