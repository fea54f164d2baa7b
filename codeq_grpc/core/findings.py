"""What can be wrong in a store, in words: each kind of finding, how bad it is, what it means."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple


class Severity(enum.StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """A task or a queue does not go on, or not as it should."""
    WARNING = "warning"
    """Something is left over, or a mark is wrong; no task is the worse for it."""


class Mode(enum.StrEnum):
    """What is done about findings."""

    LOOK = "look"
    """Nothing."""
    REPAIR = "repair"
    """Whatever can be mended is, but for bodies that may be of tasks or of none."""
    RESTORE = "restore"
    """These too: they become tasks."""
    DISCARD = "discard"
    """These too: they are removed."""


class Kind(NamedTuple):
    """One kind of finding: what it means, what mending it does, what to do if it is left."""

    severity: Severity
    meaning: str
    remedy: str
    hint: str = ""


_E, _W = Severity.ERROR, Severity.WARNING
KINDS: Final = {
    "wrong_type": Kind(_E, "a key is of a type that codeQ never gave it", "the key is set aside"),
    "expiring": Kind(_E, "the store is to delete a key after a while", "the key stays"),
    "bad_field": Kind(_E, "a field that scripts read cannot be read", "the field is unset"),
    "bad_row": Kind(_E, "a task's row cannot be read", "a row is made of what is left"),
    "no_row": Kind(_E, "a task has a body and no row", "a row is made of what is left"),
    "no_body": Kind(_E, "a task has no body", "it fails if it was still to run"),
    "no_parents": Kind(_E, "nobody knows what a blocked task waits for", "it fails"),
    "unindexed": Kind(_E, "an index lacks an entry", "it gets it"),
    "unlisted": Kind(_E, "a pending task is in no list", "it is put at the head of its list"),
    "wrong_score": Kind(_E, "an index has another time than the task", "it gets the task's"),
    "unswept": Kind(_E, "nobody carries out a purge", "the sweeper does"),
    "unfollowed": Kind(_E, "a task waits for one that does not know", "the courier tells it"),
    "unaware": Kind(_E, "a task does not know that others wait for it", "it does"),
    "untold": Kind(_E, "nobody tells others that a task has ended", "the courier does"),
    "behind": Kind(_E, "a number is beyond the latest one given", "the latest one is set"),
    "orphan": Kind(
        *(_E, "a body without a task, which may have been one or not", "it is removed"),
        "--repair --restore makes a task of it, --repair --discard removes it",
    ),
    "unregistered": Kind(_E, "tasks of a queue that is not registered", "it is, by a new number"),
    "bad_key": Kind(_E, "the row of an API key cannot be read", "the key is removed"),
    "bad_schedule": Kind(
        *(_E, "the row of a schedule cannot be read", "it is paused, to be set anew; or it goes"),
    ),
    "no_record": Kind(
        _E, "the version of a schedule is lost", "it takes the one there is; or it goes"
    ),
    "bad_firing": Kind(_E, "a firing cannot be read", "it is removed"),
    "misplaced": Kind(_W, "a task has an entry in an index of another state", "it is removed"),
    "stray": Kind(_W, "an entry that no task accounts for", "it is removed"),
    "body_size": Kind(_W, "a body is not of the size that its task says", "the row is set right"),
    "no_text": Kind(_W, "labels, checkpoint or history are lost", "the row says so"),
    "wrong_flag": Kind(_W, "a mark on a row that its state does not allow", "it is removed"),
    "twice": Kind(_W, "a task stands in its list twice", "the row says so"),
    "holders": Kind(_W, "a concurrency key is held by who does not run", "it is let go"),
    "wrong_key": Kind(_W, "an idempotency key and its task disagree", "they agree"),
}


class Finding(NamedTuple):
    """Something that is wrong. `queue` is tenant/command, or empty; `where` the suffix of a key;
    `task_id` empty if it is about none; `entry` what it is about, printable.
    """

    kind: str
    queue: str
    where: str
    task_id: str
    entry: str
    mended: bool


class Look(NamedTuple):
    """One bounded step: at which queue and part of it, how many entries, what was wrong."""

    queue: str
    part: str
    looked: int
    findings: list[Finding]
