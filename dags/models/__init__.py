"""The models of sentiment.udgl (speech to text, tokens, sentiment, subject, conclusion) and of
digits.udgl (pixels, the digits' classifier with its training, the answer).

Each is one class in one module, and only the process that hosts it imports that module. Their
data comes with the packages of the ``demo`` extra: nothing is downloaded.
"""
