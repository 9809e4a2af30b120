"""The commands ``airflow hogar ...``: what is deployed, for people at a terminal and for scripts.

``definition`` names them and is imported by every ``airflow`` command; each command is a module of
its own, which is imported when it runs.
"""
