"""What is kept: the event ledger, the caches, what is known of sessions, the gateway's own key."""
