"""Airflow operators: the steps that bring a graph up, each usable alone in anybody's own DAG."""
