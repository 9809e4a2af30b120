"""Trainings in Airflow: what a task keeps of its epochs, who reads it, and who changes it."""
