"""Settings of the notifications: to whom, from which level on, and when many become one summary."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from daemon.setting_faults import wrong
from daemon.setting_kinds import Number, Section, Whole


def _secret_url(url: SecretStr) -> SecretStr:
    """With a path and a question, which are often the secret."""
    text = url.get_secret_value()
    try:
        parts = urlsplit(text)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one or re.search(r"\s", text):
        raise wrong("must be a URL that begins with http:// or https://", "write it like https://hc-ping.com/...")
    return url


def _service_url(url: SecretStr) -> SecretStr:
    if not re.match(r"[a-zA-Z0-9]+://\S", url.get_secret_value()):
        raise wrong("must be a URL", "https://... of a webhook, or a service's as Apprise writes it, like slack://...")
    return url


class Channel(Section):
    """One place that hears of incidents. `apprise`: any service that Apprise knows, by its `url`; `webhook`: a signed POST to
    the `url`; `pagerduty`: an integration of the Events API v2, by its `routing_key`."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$", description="a short name of small letters, digits, '-' and '_'"
    )
    kind: Literal["apprise", "webhook", "pagerduty"]
    level: Literal["info", "warning", "critical"] = "warning"
    """The least that it is told of."""
    url: Annotated[SecretStr, AfterValidator(_service_url)] | None = None
    """Of the service; with `pagerduty` None is PagerDuty's own."""
    secret: SecretStr | None = None
    """Signs what a webhook is sent (HMAC-SHA256, as standardwebhooks.com has it)."""
    routing_key: SecretStr | None = None
    """Of PagerDuty's integration."""

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Channel:
        for name, remedy in _NEEDS[self.kind].items():
            value = getattr(self, name)
            if value is None or not value.get_secret_value():
                raise wrong(f"is missing: kind {self.kind} needs it", remedy, name)
        for name in ("url", "secret", "routing_key"):
            if getattr(self, name) is not None and name not in _TAKES[self.kind]:
                text = f"means nothing to kind {self.kind}"
                raise wrong(text, f"leave it out; kind {self.kind} takes {', '.join(_TAKES[self.kind])}", name)
        if self.kind != "apprise" and self.url is not None:
            _secret_url(self.url)
        return self


_NEEDS: Mapping[str, Mapping[str, str]] = {
    "apprise": {"url": "add the service's URL, as on https://appriseit.com/services/"},
    "webhook": {
        "url": "add it: `url: https://example.org/hook`",
        "secret": "add a long random text, and give the same one to whoever verifies the signature",
    },
    "pagerduty": {"routing_key": "add the integration key of an Events API v2 integration of your service"},
}
_TAKES: Mapping[str, tuple[str, ...]] = {
    "apprise": ("url",),
    "webhook": ("url", "secret"),
    "pagerduty": ("routing_key", "url"),
}


class Notify(Section):
    """Who is told of incidents, and who is told that this daemon lives."""

    channels: list[Channel] = Field(default_factory=list)
    storm_count: Whole = Field(5, ge=1, le=1000)
    """More new incidents than this within `storm_window_s` are told as one summary."""
    storm_window_s: Number = Field(60.0, ge=1, le=86400)
    heartbeat_url: Annotated[SecretStr, AfterValidator(_secret_url)] | None = None
    """Fetched once a minute while the control loop works (healthchecks.io and the like): whoever waits for that in vain knows
    that nobody watches the machines."""

    @field_validator("channels")
    @classmethod
    def _names_are_unique(cls, channels: list[Channel]) -> list[Channel]:
        names = [channel.name for channel in channels]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise wrong(f"names {', '.join(double)} more than once", "give each channel a name of its own")
        return channels
