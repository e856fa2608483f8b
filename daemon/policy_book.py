"""The policy that counts now: the configuration's, over it what was said of the fleet, over that what is a machine's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import structlog
from pydantic import ValidationError

from daemon.settings import NOT_BELOW, PolicySection
from machines.model import Machine, Mode
from machines.policy import NAMES, Origin, Policy, Said, SettingValue, plain, with_said

log = structlog.get_logger(__name__)


class PolicyBook:
    """One for each process. What was said of the fleet stands in the database; this is it as last read."""

    def __init__(self, configured: PolicySection, fit: Callable[[Policy], Policy] = lambda policy: policy) -> None:
        """`fit` makes of a policy what this machine can keep (daemon/setting_parts.py)."""
        self._fit = fit
        self._configured, self._named = configured.policy(), frozenset(configured.model_fields_set)
        self._said: Said = {}
        self._misfits: tuple[str, ...] = ()
        self._fleet = fit(self._configured)

    @property
    def fleet(self) -> Policy:
        return self._fleet

    @property
    def configured(self) -> Policy:
        """The configuration's alone."""
        return self._configured

    @property
    def misfits(self) -> tuple[str, ...]:
        """What was said of the fleet and contradicts the configuration, and what counts instead."""
        return self._misfits

    def as_said(self, said: Said) -> Policy:
        """The fleet's, were this what was said of it: a transaction does not go by what this process read last."""
        return self._fit(laid_over(self._configured, said)[0])

    def of(self, machine: Machine) -> Policy:
        own = {name: value for name, value in machine.own.values.items() if name in NAMES}
        return self._fit(agreeing(with_said(self._fleet, own), own)[0]) if own else self._fleet

    def origin(self, name: str) -> Origin:
        if name in self._said:
            return Origin.FLEET
        return Origin.FILE if name in self._named else Origin.DEFAULT

    def take(self, said: Said) -> bool:
        if said == self._said:
            return False
        self._said = dict(said)
        self._settle()
        return True

    def configure(self, configured: PolicySection) -> None:
        """The configuration was read anew."""
        self._configured, self._named = configured.policy(), frozenset(configured.model_fields_set)
        self._settle()

    def _settle(self) -> None:
        merged, self._misfits = laid_over(self._configured, self._said)
        self._fleet = self._fit(merged)
        for misfit in self._misfits:
            log.error("fleet_settings_unfit", because=misfit)


def laid_over(configured: Policy, said: Said) -> tuple[Policy, tuple[str, ...]]:
    """The configuration's policy, and over it what was said. What was said may be of other bounds, or over another
    configuration: then as little as can be is given up, and it is told of each what counts instead."""
    known = {name: value for name, value in said.items() if name in NAMES}
    try:
        return PolicySection.model_validate({**plain(configured), **known}).policy(), ()
    except ValidationError:
        return _mended(configured, known)


def _mended(configured: Policy, said: Said) -> tuple[Policy, tuple[str, ...]]:
    kept: dict[str, SettingValue] = {}
    misfits: list[str] = []
    for name, value in said.items():
        if _is_possible(name, value):
            kept[name] = value
            continue
        if name == "auto_failover":  # Whatever it was meant to say, nobody meant that everything may happen.
            kept[name] = Mode.OFF.value
        counts = kept.get(name, plain(configured)[name])
        misfits.append(f"{name}: {value!r} was said of the fleet and cannot be kept: {counts} counts")
    policy, bent = agreeing(with_said(configured, kept), kept)
    return policy, (*misfits, *bent)


def _is_possible(name: str, value: SettingValue) -> bool:
    """Alone, whatever else is said."""
    try:
        PolicySection.model_validate({name: value})
    except ValidationError as error:
        return not any(fault["loc"] for fault in error.errors(include_url=False))
    return True


def agreeing(policy: Policy, said: Iterable[str]) -> tuple[Policy, tuple[str, ...]]:
    """Of two settings that contradict each other, that gives way which was not said at the later place; and what did."""
    firm, told = set(said), list[str]()
    for _ in NOT_BELOW:
        for name, other, _why in NOT_BELOW:
            if getattr(policy, name) >= getattr(policy, other):
                continue
            bent, firmer = (other, name) if name in firm else (name, other)
            value = getattr(policy, firmer)
            told.append(f"{bent}: {getattr(policy, bent):g} contradicts {firmer} ({value:g}): {value:g} counts")
            policy = replace(policy, **{bent: value})
            firm.add(bent)
    return policy, tuple(told)
