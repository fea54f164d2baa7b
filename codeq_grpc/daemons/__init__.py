"""What acts when time passes. One daemon, one verb, one file; every server runs them all, and
the scripts see to it that they never disturb each other.
"""
