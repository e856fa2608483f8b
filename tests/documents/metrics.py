"""Every metric that /metrics serves."""

from __future__ import annotations

import re

from tests.documents.markdown import code, table, wrapped
from tests.test_api_stage import stage


async def page() -> str:
    async with stage() as s:
        answer = await s.http.get("/metrics")
    if answer.status_code == 404:
        return "# Metrics\n\nThis version serves none."
    kinds = dict(re.findall(r"^# TYPE (failoverd_\w+) (\w+)$", answer.text, re.MULTILINE))
    told = dict(re.findall(r"^# HELP (failoverd_\w+) (.*)$", answer.text, re.MULTILINE))
    head = "Served at `/metrics`, for Prometheus. `failoverd export rules` prints alert rules, `failoverd export dashboard` a dashboard for Grafana."
    rows = [
        (code(name), kind, told.get(name, "")) for name, kind in sorted(kinds.items()) if not name.endswith("_created")
    ]
    return "\n\n".join(("# Metrics", wrapped(head), table(("metric", "kind", "what it is"), rows)))
