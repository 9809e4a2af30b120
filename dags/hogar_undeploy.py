"""The Airflow DAG that takes a deployed graph down: airflow dags trigger hogar_undeploy."""

from hogar_provider.undeploy import undeploy_dag

dag = undeploy_dag()
