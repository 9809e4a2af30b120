"""Where Flask finds the page's template."""

from __future__ import annotations

from flask import Blueprint

blueprint = Blueprint("hogar_templates", __name__, template_folder="templates")
