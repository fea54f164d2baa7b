"""When schedules fire: cron expressions, intervals and single times, and what a firing fills in.

Pure: no clock, no store. Here alone the library for cron expressions is known.
"""
