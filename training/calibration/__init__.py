"""From logits to a calibrated score, and to thresholds with a bounded error."""
