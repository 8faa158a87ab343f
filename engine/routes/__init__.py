"""Answers that need no pipeline: lists of models, token counts, and looking into the gateway."""
