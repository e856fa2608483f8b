"""Channels to people and programs: each one is the port Notifier."""

from adapters.notify.apprise_channel import AppriseChannel, wrong_url
from adapters.notify.pagerduty import PagerDuty
from adapters.notify.ping import Ping
from adapters.notify.webhook import Webhook

__all__ = ["AppriseChannel", "PagerDuty", "Ping", "Webhook", "wrong_url"]
