"""The agent's state machine: what follows when something happens, and what a restart cut short."""

from dataclasses import replace
from typing import assert_never

from headwater_wire.eras import era
from headwater_wire.ids import ModelName, TaskId
from headwater_wire.messages import (
    Deployment,
    DeploymentReport,
    Evaluated,
    Failed,
    Rejected,
    SyncAnswer,
    SyncRequest,
    Task,
    TaskReport,
)
from headwater_wire.plausible import TOLD_AT_ONCE

from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core.backoff import sync_apart_s
from headwater_agent.core.course import (
    Next,
    begin_days,
    came_to,
    finish,
    give_up,
    hold_back,
    put,
    put_off,
    report,
    settle,
    start,
    stop,
    upload,
)
from headwater_agent.core.eligibility import objection
from headwater_agent.core.novelty import noted
from headwater_agent.core.policy import deployment_objection
from headwater_agent.core.session import (
    Held,
    Install,
    InstallState,
    ServerTime,
    Session,
    Stage,
)

_UNDONE = Failed("this box was done with it before the control plane was restored from an older backup")
INSTALL_LIVES = 3  # in which the check of a version may have ended the agent, or the whole box
CARRIED_EVERY_S = 3600.0  # while no broker reaches it, the box writes the server's time down
FIRST_SYNC_S = 5.0  # after a start: a broker that is there has accepted us by then

_Fetching = on.Fetched | on.FetchFailed
_Training = on.Trained | on.Scored | on.TrainingRefused | on.TrainingBroke | on.Paused | on.WorkerDied


def step(session: Session, event: on.Event, *, at_s: float, uploading: frozenset[TaskId] = frozenset()) -> Next:
    """Say what follows when `event` reaches an agent in `session`, at a monotonic instant.

    Of the tasks in `uploading` the deltas are being sent now. A late or repeated event changes nothing.
    """
    session, commands = _react(session, event, at_s)
    session, more = settle(session, at_s, uploading)
    return session, commands + more


def resume(session: Session, *, at_s: float) -> Next:
    """Say what a restart cut short; to be saved before it is acted upon, as what `step` says is."""
    time = ServerTime(session.time.server_ms, at_s, sure=False)
    session = replace(session, time=time, sync_at_s=at_s + FIRST_SYNC_S)
    commands: tuple[do.Command, ...] = ()
    for held in session.held:
        match held.stage:
            case Stage.SPOOLED:
                commands += (upload(held),)
            case Stage.TRAINING if held.tries >= session.box.max_attempts:
                session, more = give_up(session, held, "the agent died with it", at_s)
                commands += more
            case Stage.FETCHING | Stage.TRAINING:
                session = put(session, replace(held, stage=Stage.ACCEPTED))
            case Stage.ACCEPTED:
                pass
            case _:
                assert_never(held.stage)
    for install in session.installs:
        if install.open:
            session, more = _install_again(session, install)
            commands += more
    if session.reports or session.install_reports:
        commands += (do.Sync(),)
    session, more = settle(session, at_s)
    return session, commands + more


def stand_down(session: Session, *, at_s: float) -> Session:
    """Say what to remember when the agent stops in good order: what it ends itself is no failed attempt."""
    session = replace(session, time=session.time.carried(at_s))
    for held in session.held:
        if held.stage is Stage.TRAINING:
            session = put(session, put_off(held))
    for install in session.installs:
        if install.state is InstallState.CHECKING:
            put_back = replace(install, state=InstallState.WANTED, attempts=install.attempts - 1)
            session = _put_install(session, put_back)
    return session


def wake_at_s(session: Session) -> float | None:
    """Say at which monotonic instant a deadline comes, or an unasked-for Sync, that `TimePassed` should tell of."""
    instants = [] if session.sync_at_s is None else [session.sync_at_s]
    open_until = [held.task.deadline_ms for held in session.held if held.stage is not Stage.SPOOLED]
    if open_until and session.time.server_ms:
        instants.append(session.time.at_s + (min(open_until) + 1 - session.time.server_ms) / 1000)
    return min(instants, default=None)


def _react(session: Session, event: on.Event, at_s: float) -> Next:
    match event:
        case on.Connected() | on.Disconnected() | on.Rung() | on.TimePassed():
            return _keep_in_touch(session, event, at_s)
        case on.Assigned() if not session.time.server_ms:  # nobody can say yet whether its deadline has passed
            return session, (do.Sync(),)
        case on.Assigned(revision) | on.Withdrawn(revision) | on.DeploymentWanted(revision):
            if revision < session.revision:  # an answer of a later state has said all of this
                return session, ()
            session, commands = _note_revision(session, revision)
            session, more = _obey(session, event, at_s)
            return session, commands + more
        case on.Synced(request, answer):
            return _reconcile(session, request, answer, at_s)
        case on.Surveyed(datasets):
            return replace(session, box=replace(session.box, datasets=datasets)), ()
        case on.ConditionsChanged(waiting):
            lost = waiting and not session.box.waiting  # while it waits nothing begins
            session = replace(session, box=replace(session.box, waiting=waiting))
            return hold_back(session) if lost else (session, ())
        case on.Receipted(task):
            held = session.holding(task)
            if held is None or held.stage is not Stage.SPOOLED:
                return session, ()
            return finish(session, held), (do.Discard(task),)
        case on.VersionFetched() | on.Installed() | on.InstallFailed():
            return _follow_install(session, event)
        case _:
            return _work(session, event, at_s)


def _keep_in_touch(
    session: Session, event: on.Connected | on.Disconnected | on.Rung | on.TimePassed, at_s: float
) -> Next:
    """Sync when there is a reason to; while no broker could tell of one, now and then."""
    match event:
        case on.Connected():  # from here on heartbeats show the revision, and a box that has missed something is rung
            return replace(session, sync_at_s=None), (do.Sync(),)
        case on.Rung():
            return session, (do.Sync(),)
        case on.Disconnected(chance) if session.sync_at_s is None:
            return replace(session, sync_at_s=at_s + sync_apart_s(chance=chance)), ()
        case on.TimePassed(chance) if session.sync_at_s is not None and session.sync_at_s <= at_s:
            session = replace(session, sync_at_s=at_s + sync_apart_s(chance=chance))
            if at_s - session.time.at_s >= CARRIED_EVERY_S:  # deltas grow old on a box whose power is cut every night
                session = replace(session, time=session.time.carried(at_s))
            return session, (do.Sync(),)
        case on.Disconnected() | on.TimePassed():
            return session, ()
        case _:
            assert_never(event)


def _work(session: Session, event: _Fetching | _Training | on.SpoolLost, at_s: float) -> Next:
    """Follow a held task's own course; what is said of another stage or attempt is late."""
    held = session.holding(event.task)
    match event:
        case _ if held is None:
            return session, ()
        case on.Fetched() if held.stage is Stage.FETCHING:
            return start(session, held)
        case on.FetchFailed(_, reason) if held.stage is Stage.FETCHING:
            session, commands = report(session, held, Failed(reason))
            return session, (*stop(held), *commands) if held.attempts else commands
        case on.SpoolLost(_, attempt, reason) if (held.stage, held.attempts) == (Stage.SPOOLED, attempt):
            if held.tries >= session.box.max_attempts:
                return report(session, held, Failed(reason))
            return put(session, replace(held, stage=Stage.ACCEPTED, delta=None, metrics=None, spooled_ms=0)), ()
        case on.Fetched() | on.FetchFailed() | on.SpoolLost():
            return session, ()
        case _ if (held.stage, held.attempts) == (Stage.TRAINING, event.attempt):
            return _end_training(session, held, event, at_s)
        case _:
            return session, ()


def _end_training(session: Session, held: Held, event: _Training, at_s: float) -> Next:
    match event:
        case on.Trained(_, _, delta, metrics):
            now_ms = session.time.now_ms(at_s)
            spooled = replace(held, stage=Stage.SPOOLED, delta=delta, metrics=metrics, spooled_ms=now_ms)
            session = replace(session, sent=session.sent.plus(delta.size, now_ms))
            before, session = session, noted(session, held.task.dataset)
            news = (do.Announce(),) if session.trained != before.trained else ()
            return put(session, spooled), (upload(spooled), *news)
        case on.Scored(_, _, metrics):
            return report(session, held, Evaluated(metrics))
        case on.TrainingRefused(_, _, reason):
            return report(session, held, Rejected(reason))
        case on.TrainingBroke(_, _, reason):
            return report(session, held, Failed(reason))
        case on.Paused():
            return put(session, put_off(held)), ()
        case on.WorkerDied(_, _, how, reached):
            held = came_to(held, reached)
            if held.tries >= session.box.max_attempts:
                return give_up(session, held, how, at_s)
            return start(session, held)
        case _:
            assert_never(event)


# ── what the control plane wants ───────────────────────────────────────────────────────────────────────────────


def _note_revision(session: Session, revision: int) -> Next:
    """Count a change as held if none is missing before it; else ask for what is missing."""
    seen = max(session.seen, revision)
    if revision <= session.revision + 1:
        return replace(session, revision=revision, seen=seen), ()
    return replace(session, seen=seen), (do.Sync(),)


def _obey(session: Session, event: on.Assigned | on.Withdrawn | on.DeploymentWanted, at_s: float) -> Next:
    match event:
        case on.Assigned(_, task):
            return _accept(session, task, at_s)
        case on.Withdrawn(_, task_id):
            held = session.holding(task_id)
            return _drop(session, held) if held else (session, ())
        case on.DeploymentWanted(_, deployment):
            return _want(session, deployment)
        case _:
            assert_never(event)


def _reconcile(session: Session, request: SyncRequest, answer: SyncAnswer, at_s: float) -> Next:
    session = replace(
        session,
        time=ServerTime(answer.server_time_ms, at_s, answered_s=at_s),
        heartbeat_s=answer.heartbeat_s,
        reports=tuple(report for report in session.reports if report not in request.reports),
        install_reports=tuple(report for report in session.install_reports if report not in request.deployments),
    )
    session = begin_days(session)
    commands: tuple[do.Command, ...] = (do.Announce(),) if answer.hello_wanted else ()
    if TOLD_AT_ONCE in (len(request.reports), len(request.deployments)):  # there may be more
        commands = (*commands, do.Sync())
    # Only a database restored from a backup answers with less than it was shown: what it says is the truth again.
    restored = answer.revision < request.revision
    if answer.revision < session.seen and not restored:
        return session, commands  # a message has overtaken this answer
    if era(answer.revision) > era(session.revision):
        session, more = _begin_era(session, answer)
        commands += more
    session = replace(session, revision=answer.revision, seen=answer.revision)
    wanted = {task.id for task in answer.tasks}
    for held in session.held:
        if held.task.id not in wanted:
            session, more = _drop(session, held)
            commands += more
    for task in answer.tasks:
        session, more = _accept(session, task, at_s)
        commands += more
    for deployment in answer.deployments:
        session, more = _want(session, deployment)
        commands += more
    return session, commands


def _accept(session: Session, task: Task, at_s: float) -> Next:
    now_ms = session.time.now_ms(at_s)
    known = session.holding(task.id) or any(finished.task == task.id for finished in session.finished)
    if known or task.deadline_ms <= now_ms:
        return session, ()
    held = Held(task, number=max((other.number for other in session.held), default=0) + 1)
    if reason := objection(session, task, now_ms=now_ms):
        return report(session, held, Rejected(reason))
    return replace(session, held=(*session.held, held)), ()


def _begin_era(session: Session, answer: SyncAnswer) -> Next:
    """Learn that the control plane was restored from a backup, whose generations and ends of tasks are older.

    What it wants installed counts, whatever its generation; a task that is open there, though this box is done with
    it, is reported, since no delta of it is here any more.
    """
    kept = tuple(install for install in session.installs if install.deployment in answer.deployments)
    commands: tuple[do.Command, ...] = tuple(
        do.AbandonInstall(install.model, install.deployment.generation)
        for install in session.installs
        if install not in kept and install.open
    )
    done = {finished.task for finished in session.finished} - {report.task for report in session.reports}
    undone = tuple(TaskReport(task.id, _UNDONE) for task in answer.tasks if task.id in done)
    if undone:
        commands = (*commands, do.Sync())
    return replace(session, installs=kept, reports=(*session.reports, *undone)), commands


def _drop(session: Session, held: Held) -> Next:
    """End a task the control plane has closed; a delta that is spooled is offered all the same, for its receipt."""
    if held.stage is Stage.SPOOLED:
        return session, ()
    return finish(session, held), stop(held)


def _want(session: Session, deployment: Deployment) -> Next:
    current = session.install(deployment.model)
    if current and deployment.generation <= current.deployment.generation:
        return session, ()
    session, commands = _install(_put_install(session, Install(deployment)), deployment)
    if current and current.open:
        commands = (do.AbandonInstall(current.model, current.deployment.generation), *commands)
    return session, commands


def _install(session: Session, deployment: Deployment) -> Next:
    """Begin an install that is wanted, if the box's owner allows it; a restart may have brought another policy."""
    if refused := deployment_objection(session.box.policy, deployment):
        return _end_install(session, deployment.model, deployment.generation, InstallState.FAILED, refused)
    return session, (do.FetchVersion(deployment),)


def _install_again(session: Session, install: Install) -> Next:
    """Go on with an install that a restart cut short, unless its check is what keeps ending the agent."""
    if install.state is InstallState.CHECKING and install.attempts >= INSTALL_LIVES:
        problem = f"the agent died {install.attempts} times while it was checked: this device does not try it again"
        return _end_install(session, install.model, install.deployment.generation, InstallState.FAILED, problem)
    session = _put_install(session, replace(install, state=InstallState.WANTED))
    return _install(session, install.deployment)


def _follow_install(session: Session, event: on.VersionFetched | on.Installed | on.InstallFailed) -> Next:
    match event:
        case on.VersionFetched(model, generation):
            return _begin_check(session, model, generation)
        case on.Installed(model, generation):
            return _end_install(session, model, generation, InstallState.INSTALLED, "")
        case on.InstallFailed(model, generation, problem):
            return _end_install(session, model, generation, InstallState.FAILED, problem)
        case _:
            assert_never(event)


def _begin_check(session: Session, model: ModelName, generation: int) -> Next:
    """Count an attempt, then check: whatever a graph does to the box, it does not do so for ever."""
    current = session.install(model)
    if current is None or (current.deployment.generation, current.state) != (generation, InstallState.WANTED):
        return session, ()
    begun = replace(current, state=InstallState.CHECKING, attempts=current.attempts + 1)
    return _put_install(session, begun), (do.Install(current.deployment),)


def _end_install(session: Session, model: ModelName, generation: int, state: InstallState, problem: str) -> Next:
    current = session.install(model)
    if current is None or current.deployment.generation != generation or not current.open:
        return session, ()
    report = DeploymentReport(
        current.deployment.rollout, model, generation, installed=state is InstallState.INSTALLED, problem=problem
    )
    session = _put_install(session, replace(current, state=state))
    return replace(session, install_reports=(*session.install_reports, report)), (do.Sync(),)


def _put_install(session: Session, install: Install) -> Session:
    others = tuple(other for other in session.installs if other.model != install.model)
    return replace(session, installs=tuple(sorted((*others, install), key=lambda known: known.model)))
