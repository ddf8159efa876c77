"""Upkeep, called by timers and operators: poison records, the sweeper, retention, orphaned blobs, new data keys."""
