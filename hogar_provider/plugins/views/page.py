"""The live view as a page of flask-appbuilder: all graphs, without Airflow's frame.

Being one of FAB's views, it makes FAB know ``can_read`` and ``can_edit`` on HOGAR, so that roles
can hold them. Changes go through the API, which asks for them as well.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from flask_appbuilder import BaseView, expose

from hogar_provider.plugins.permission import ACTIONS, RESOURCE
from hogar_provider.plugins.views.login import admit, keep_session


class HogarView(BaseView):
    """``/pluginsv2/hogar/``."""

    route_base = "/hogar"
    class_permission_name = RESOURCE
    base_permissions = ACTIONS
    default_view = "index"

    def create_blueprint(
        self, appbuilder: Any, endpoint: str | None = None, static_folder: str | None = None
    ) -> Blueprint:
        """The view's blueprint, which knows the user by Airflow's token."""
        blueprint = super().create_blueprint(appbuilder, endpoint, static_folder)
        blueprint.before_request(admit)
        blueprint.after_request(keep_session)
        return blueprint

    @expose("/")
    def index(self) -> Any:
        """The page; the front end asks the API for everything that it shows."""
        from airflow.api_fastapi.app import get_cookie_path
        from flask import render_template

        return render_template("hogar/page.html", root=get_cookie_path())
