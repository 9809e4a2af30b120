"""The HTTP API behind the live view, mounted by Airflow's API server at ``/hogar``."""
