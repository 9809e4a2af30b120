"""Shows in Airflow's import errors why a .udgl file of this folder gives no DAG."""

from hogar_provider.loader import load_errors

load_errors(__file__, globals())
