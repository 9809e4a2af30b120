"""Airflow DAGs of every .udgl file in this folder and below; a broken file is passed over."""

from hogar_provider.loader import load_graphs

load_graphs(__file__, globals())
