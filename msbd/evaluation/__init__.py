"""The paper's claims, measured with the miniature: cases, measures, methods, verdicts."""
