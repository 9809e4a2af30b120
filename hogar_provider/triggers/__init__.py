"""Airflow triggers: they wait for the agent in the triggerer, so that no worker has to."""
