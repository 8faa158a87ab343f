"""The neutral vocabulary that every other part speaks: messages, stream events, errors, losses, rows, protocol promises."""
