"""How we speak to Vast: the routes, the least time between two calls of each, and the bounds on patience.

Durations are in the clock's scaled seconds, except `timeout_s`: no network becomes faster.
"""

from __future__ import annotations

from dataclasses import dataclass

VAST_URL = "https://console.vast.ai"


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint and method. The provider counts calls per endpoint and method, whatever the id in the path."""

    method: str
    path: str
    interval_s: float
    """The provider's threshold (facts/vast-api.md, "operations at a glance" and section 8)."""
    is_repeatable: bool = True
    """A second call after a lost answer does no harm. Never true of create (facts/vast-api.md, 11.3)."""
    denies: bool = False
    """Its 401 "Unauthorized" is about what it names, and says nothing of our key (facts/vast-api.md, sections 6 and 8)."""

    def at(self, number: int) -> str:
        return self.path.format(id=number)


SEARCH = Route("POST", "/api/v0/bundles/", 2.0)
CREATE = Route("PUT", "/api/v0/asks/{id}/", 4.5, is_repeatable=False)
SHOW = Route("GET", "/api/v0/instances/{id}/", 2.0)
LIST = Route("GET", "/api/v1/instances/", 1.0)
CHANGE = Route("PUT", "/api/v0/instances/{id}/", 1.0)
"""Start, stop and label: one endpoint, one threshold."""
REBOOT = Route("PUT", "/api/v0/instances/reboot/{id}/", 1.0, is_repeatable=False)
LOGS = Route("PUT", "/api/v0/instances/request_logs/{id}/", 1.0)
"""The pace is a guess: no source names one."""
DESTROY = Route("DELETE", "/api/v0/instances/{id}/", 3.0)
LIST_VOLUMES = Route("GET", "/api/v0/volumes", 2.0)
SEARCH_VOLUMES = Route("POST", "/api/v0/volumes/search/", 2.0)
CREATE_VOLUME = Route("PUT", "/api/v0/volumes/", 1.0, is_repeatable=False)
CLONE_VOLUME = Route("POST", "/api/v0/volumes/copy/", 1.0, is_repeatable=False, denies=True)
DELETE_VOLUME = Route("DELETE", "/api/v0/volumes/", 2.0, denies=True)
ACCOUNT = Route("GET", "/api/v0/users/current", 1.0)
CHARGES = Route("GET", "/api/v0/charges/", 2.0)
"""The pace is a guess: no source names one."""
SPEND_RATE = Route("GET", "/api/v0/users/spend-rate/", 7.0)
SSH_KEYS = Route("GET", "/api/v0/ssh/", 1.0)
ADD_SSH_KEY = Route("POST", "/api/v0/ssh/", 1.0)
ATTACH_SSH_KEY = Route("POST", "/api/v0/instances/{id}/ssh/", 2.0)
WEBHOOKS = Route("GET", "/api/v0/webhooks/", 2.0)
ADD_WEBHOOK = Route("POST", "/api/v0/webhooks/", 2.0, is_repeatable=False)
ROTATE_WEBHOOK = Route("POST", "/api/v0/webhooks/{id}/rotate-secret/", 2.0)


@dataclass(frozen=True, slots=True)
class VastSettings:
    """Every number that somebody may want to turn; the defaults fit the public API."""

    timeout_s: float = 30.0
    """Real seconds for one call, from sending to the last byte of the answer."""
    lag_s: float = 15.0
    """How long a new rental may stay invisible to reads (facts/vast-api.md, section 3)."""
    volume_lag_s: float = 30.0
    """The same of a volume, of which nobody has written."""
    look_again_s: float = 3.0
    """The delay of NotYet where nothing better is known."""
    tries: int = 3
    """Calls in all where the answer was lost and a second one does no harm."""
    throttled_tries: int = 5
    """Calls in all where the provider said 429; nothing happened then, so this holds for every method."""
    backoff_s: float = 1.0
    """The first pause after a failure; doubles, with jitter."""
    max_wait_s: float = 60.0
    """A longer rate limit is not waited for but told, as NotYet."""
    slack_s: float = 0.05
    """Added to each interval: the provider measures arrivals, and the network squeezes them together."""
    shared_slack_s: float = 0.15
    """The same between calls of different processes, none of which is punctual."""
    page_size: int = 25
    """The most that the provider shows on a page; always sent (facts/vast-api.md, 4.2)."""
    max_pages: int = 400
    few_pages: int = 4
    """Of an account with more pages than this, only the rentals are read that somebody asks about."""
    keep_s: float = 30.0
    """How long such a row is kept for those who take an older one."""
    search_limit: int = 64
    """The provider's own cap on one search, whatever is asked (facts/vast-api.md, trap 1)."""
    search_pages: int = 3
    """How many searches one call may make, each from the last one's highest price on."""
