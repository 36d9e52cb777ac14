"""What this machine and this installation can do: benchmark, baselines, doctor."""
