"""What the API takes and answers: times are Unix seconds, durations ``*_ms``, sizes bytes."""
