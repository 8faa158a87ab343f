"""The wire protocols: each one serves clients and speaks to providers, and knows no other."""
