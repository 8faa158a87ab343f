"""What is told about requests: everything here is fed by the one event."""
