"""The ways out: outbox rows, the queues `outbound` and `relay`, attempts, retries and replays."""
