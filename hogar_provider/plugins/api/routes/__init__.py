"""The API's routes, one subject a file; what they answer is computed elsewhere."""
