"""Airflow hooks: how the provider's Airflow operators reach the runtime."""
