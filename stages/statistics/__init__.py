"""The statistics under the criteria: sequential tests, dispersion, cohorts, shares. numpy alone; pure functions.

Everything broadcasts over leading axes, so the code that judges one live gate also judges thousands of simulated ones.
"""
