"""The owner's policy as the configuration spells it: [policy], and [policy.datasets.NAME] for some datasets."""

from collections.abc import Iterator
from functools import partial

from headwater_wire.ids import check_model_name, check_name

from headwater_agent.core.policy import Floor, Limits, Policy
from headwater_agent.settings import Section

_MOST = 1_000_000_000


def read_policy(section: Section, declared: tuple[str, ...]) -> Policy:
    """Read [policy] of a box that declares these datasets; raise `BadSetting`."""
    allowed = section.selection("allow_datasets")
    for name in allowed or ():
        section.check("allow_datasets", partial(_check_declared, name, declared))
    general = _limits(section, Limits())
    own = section.section("datasets").sections(otherwise="[policy]")
    for each in own:
        each.check(None, partial(_check_declared, each.name, declared))
    return Policy(
        allow_datasets=allowed,
        memory_mb=section.integer("memory_mb", default=0, least=0, most=_MOST),
        mb_up_a_day=section.number("mb_up_a_day", default=0.0, least=0.0, most=_MOST),
        general=general,
        datasets=tuple((each.name, _limits(each, general)) for each in own),
    )


def described(policy: Policy, datasets: tuple[str, ...]) -> Iterator[str]:
    """Say what tasks may do, for a person: a line for each dataset, and for the box, that something is limited of."""
    for dataset in datasets:
        if limits := "; ".join(_limited(policy.limits(dataset))) if policy.lets_use(dataset) else "no task may use it":
            yield f"policy for {dataset}: {limits}"
    models = policy.general.models
    if models is not None:
        yield f"policy for the box: of these models, versions may be installed: {', '.join(models) or 'none'}"
    if policy.mb_up_a_day:
        yield f"policy for the box: at most {policy.mb_up_a_day:g} MB up a day"
    if policy.memory_mb:
        yield f"policy for the box: at most {policy.memory_mb} MB of memory for training"


def _limits(section: Section, general: Limits) -> Limits:
    models = section.selection("models", default=general.models)
    for name in models or ():
        section.check("models", partial(check_model_name, name))
    return Limits(
        models=models,
        labels=_labels(section.section("labels")) if "labels" in section.names() else general.labels,
        max_epochs=section.integer("max_epochs", default=general.max_epochs, least=0, most=_MOST),
        max_batch_size=section.integer("max_batch_size", default=general.max_batch_size, least=0, most=_MOST),
        max_minutes=section.number("max_minutes", default=general.max_minutes, least=0.0, most=_MOST),
        max_mb_up=section.number("max_mb_up", default=general.max_mb_up, least=0.0, most=_MOST),
        floor=_floor(section, general.floor),
    )


def _floor(section: Section, general: Floor) -> Floor:
    floor = Floor(
        min_examples=section.integer("min_examples", default=general.min_examples, least=0, most=_MOST),
        clip_norm=section.number("clip_norm", default=general.clip_norm, least=0.0, most=_MOST),
        noise_multiplier=section.number("noise_multiplier", default=general.noise_multiplier, least=0.0, most=_MOST),
        report_metrics=section.flag("report_metrics", default=general.report_metrics),
    )
    section.check("noise_multiplier", partial(_check_noise, floor))
    return floor


def _labels(section: Section) -> tuple[tuple[str, tuple[str, ...]], ...]:
    read = []
    for key in section.names():
        values = section.texts(key)
        section.check(key, partial(check_name, key, "label"))
        for value in values:
            section.check(key, partial(check_name, value, "label value"))
        read.append((key, values))
    return tuple(sorted(read))


def _check_declared(name: str, declared: tuple[str, ...]) -> None:
    if name not in declared:
        known = ", ".join(declared) or "none"
        raise ValueError(f"no dataset {name!r} is declared (there is: {known}); write [datasets.{name}], or its name")


def _check_noise(floor: Floor) -> None:
    if floor.noise_multiplier and not floor.clip_norm:
        raise ValueError("noise is a multiple of clip_norm: set clip_norm too")


def _limited(limits: Limits) -> Iterator[str]:
    if limits.models is not None:
        yield f"only models {', '.join(limits.models)}" if limits.models else "no model"
    for key, values in limits.labels:
        yield f"only runs labelled {key}={' or '.join(values)}"
    for most, what in (
        (limits.max_epochs, "epochs"),
        (limits.max_batch_size, "examples a batch"),
        (limits.max_minutes, "minutes"),
        (limits.max_mb_up, "MB up"),
    ):
        if most:
            yield f"at most {most:g} {what}"
    floor = limits.floor
    if floor.min_examples:
        yield f"from at least {floor.min_examples} examples"
    if floor.clip_norm:
        noise = f", noise of {floor.noise_multiplier:g} times that" if floor.noise_multiplier else ""
        yield f"clipped to the norm {floor.clip_norm:g}{noise}"
    if not floor.report_metrics:
        yield "no metrics are reported"
