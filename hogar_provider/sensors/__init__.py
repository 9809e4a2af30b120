"""Airflow sensors: they wait for what a deployed graph does."""
