"""What a task is, as it travels: the run's spec, seen by one device."""

from headwater_wire.messages import Plan, Task

from headwater_control.core.models import Bundle, Version
from headwater_control.core.runs import Round, Run, TaskRecord
from headwater_control.core.seeds import task_seed

CODEC = "f32"


def assignment(run: Run, record: Round, task: TaskRecord, bundle: Bundle, base: Version) -> Task:
    """Spell out a task for its device: the same bytes whenever it is asked for."""
    spec = run.spec
    return Task(
        id=task.id,
        run=run.id,
        round=record.number,
        device=task.device,
        dataset=spec.dataset,
        bundle=bundle.manifest,
        base=base.parameters,
        base_version=base.id,
        plan=Plan(
            train=not record.evaluate,
            epochs=spec.epochs,
            batch_size=spec.batch_size,
            learning_rate=spec.learning_rate,
            seed=task_seed(spec.seed, record.number, task.order),
            holdout=spec.holdout,
            threads=1 if spec.reproducible else 0,
            codec=CODEC,
            momentum=spec.momentum,
            beta1=spec.beta1,
            beta2=spec.beta2,
            epsilon=spec.epsilon,
            weight_decay=spec.weight_decay,
            clip_norm=spec.clip_norm,
            proximal=spec.proximal,
        ),
        deadline_ms=int(task.deadline.timestamp() * 1000),
        labels=tuple(sorted(spec.cohort)),
    )
