"""The machine, the console and the clock that a command runs on."""
