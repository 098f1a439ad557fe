"""What goes into a batch and what comes back: lines of JSON, and the batch itself, read type by type.

The form is OpenAI's (platform.openai.com/docs/guides/batch, 2026). Who copies it differs: Azure and vLLM leave fields
out, Together writes states in capitals and wraps a new batch into `job`, others list batches without `data`. All of
that is read. Nothing here raises anything but `NonsenseError`, whatever a server sends.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from sinternal.engines.openai_replies import NonsenseError, line, read_refusal
from sinternal.visible import whole_characters

PREFIX = "/v1"
"""Stands before the path of each request in a batch, whatever the address of the server ends in."""
STREAMING = ("stream", "stream_options")
"""Fields that a batch has no use for: its replies come whole."""
ENDED = frozenset(("completed", "failed", "expired", "cancelled"))
"""States that a batch stays in."""
SPELLINGS: Mapping[str, str] = {
    "canceled": "cancelled",
    "success": "completed",
    "succeeded": "completed",
    "error": "failed",
    "timeout_exceeded": "expired",
}
"""What others call them."""
LEFT = ("batch_expired", "batch_cancelled", "batch_canceled", "batch_failed")
"""Codes of requests that a batch ended without."""
ITS_OWN_FAULT = ("invalid", "unsupported", "unknown_parameter", "context_length", "not_found", "validation")
"""In a code, says of an error without a status that the request is to blame."""
QUEUE_IS_FULL = ("token_limit", "quota", "rate_limit", "too_many")
"""In a code, says of a failed batch that another can be handed in once some are done."""
OK, BAD_REQUEST, BROKEN = 200, 400, 500


class Answer(NamedTuple):
    """What came back for one request."""

    status: int
    """Of HTTP; where a line has none, what it amounts to."""
    body: bytes
    """The reply, or the error."""


class Reading(NamedTuple):
    """The lines of a batch's files, each counted once."""

    answers: dict[str, Answer]
    """By the request's id; those that the batch ended without are not there."""
    left: frozenset[str]
    """Requests of which there are lines, and no more than that the batch ended without them."""
    unknown: int
    """Lines about requests that are not in the batch."""
    doubled: int
    """Further lines about the same request."""
    unreadable: int
    """Lines that are no JSON, or of no request."""

    def oddities(self) -> str:
        """What is odd about the lines, in words; empty if nothing is."""
        counts = {
            "of no request of it": self.unknown,
            "about the same again": self.doubled,
            "unreadable": self.unreadable,
        }
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


class State(NamedTuple):
    """How far a batch is."""

    id: str
    """Its id at the server."""
    state: str
    """In OpenAI's word, whatever the server calls it."""
    input_file: str
    """Id of the file that it is made from; empty if the server does not say."""
    files: tuple[str, ...]
    """Ids of what it has written: replies, then errors."""
    done: int
    """Requests that are over, well or not."""
    words: str
    """Its errors, on one line; empty for none."""
    codes: str
    """Their codes."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state in ENDED

    @property
    def queue_is_full(self) -> bool:
        """Whether it failed because too much is waiting already."""
        return self.state == "failed" and any(code in self.codes for code in QUEUE_IS_FULL)


class Page(NamedTuple):
    """A part of the list of batches."""

    states: list[State]
    """The batches."""
    more: bool
    """Whether there are others."""


def identity_of(*parts: Any) -> str:
    """What a request is known by, in batches and on the disk: 32 hexadecimal digits, of all that makes it this one."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def write_line(identity: str, path: str, body: Mapping[str, Any]) -> bytes:
    """A request as a line of a batch's file.

    Raises:
        UnicodeEncodeError: a text in it holds half of a character.
    """
    whole = {name: value for name, value in body.items() if name not in STREAMING}
    request = {"custom_id": identity, "method": "POST", "url": PREFIX + path, "body": whole}
    return json.dumps(request, ensure_ascii=False).encode() + b"\n"


def read_answers(contents: Collection[bytes], wanted: Collection[str]) -> Reading:
    """Read what a batch has written.

    Of several lines about one request the first that holds a reply counts, since it is paid for; else the first.

    Args:
        contents: the files.
        wanted: the requests in the batch.
    """
    answers: dict[str, Answer] = {}
    lines_of: dict[str, int] = {}
    unknown = unreadable = 0
    for text in (part for content in contents for part in content.split(b"\n") if part.strip()):
        row = _object(text)
        identity = row.get("custom_id")
        if not isinstance(identity, str):
            unreadable += 1
        elif identity not in wanted:
            unknown += 1
        else:
            lines_of[identity] = lines_of.get(identity, 0) + 1
            answer, before = _answer(row), answers.get(identity)
            if answer is not None and (before is None or (before.status != OK and answer.status == OK)):
                answers[identity] = answer
    doubled = sum(lines_of.values()) - len(lines_of)
    return Reading(answers, frozenset(lines_of.keys() - answers.keys()), unknown, doubled, unreadable)


def _answer(row: Mapping[str, Any]) -> Answer | None:
    """What a line brings; None if the batch ended without the request."""
    response, error = row.get("response"), row.get("error")
    if isinstance(response, Mapping) and response:
        body = response.get("body", None if "status_code" in response else response)
        status = _status(response.get("status_code"))
        if status is None:
            status = OK if isinstance(body, Mapping) and "choices" in body else None
        if body is None and error:
            body = {"error": error}
        content = body.encode("utf-8", "replace") if isinstance(body, str) else _as_json(body)
        return Answer(_amounts_to(content) if status is None else status, content)
    content = _as_json({"error": error if error else "a line without a response"})
    codes = read_refusal(BAD_REQUEST, content).code.lower()
    if any(code in codes for code in LEFT):
        return None
    status = _status(error.get("status_code", error.get("status"))) if isinstance(error, Mapping) else None
    return Answer(_amounts_to(content) if status in (None, OK) else status or BROKEN, content)


def _amounts_to(error: bytes) -> int:
    """The status of an error that has none. What is not known to be the request's own fault may pass."""
    refusal = read_refusal(BAD_REQUEST, error)
    own = refusal.filtered or any(code in refusal.code.lower() for code in ITS_OWN_FAULT)
    return BAD_REQUEST if own else BROKEN


def read_file_id(content: bytes) -> str:
    """The id of a file that was uploaded. Raises NonsenseError if there is none."""
    identity = _text(_object(content), "id")
    if not identity:
        raise NonsenseError(f"a file without an id: {line(content[:80].decode('utf-8', 'replace'))!r}")
    return identity


def read_batch(content: bytes) -> State:
    """A batch as the server describes it. Raises NonsenseError if that is no batch."""
    return _state(_object(content))


def read_page(content: bytes) -> Page:
    """A part of the list of batches. Raises NonsenseError if it is none."""
    parsed = _parse(content)
    rows = parsed
    if isinstance(parsed, Mapping):
        rows = next((parsed[name] for name in ("data", "batches", "jobs") if name in parsed), None)
    if not isinstance(rows, list):
        raise NonsenseError("no list of batches")
    more = isinstance(parsed, Mapping) and parsed.get("has_more") is True
    return Page([_state(row) for row in rows if isinstance(row, Mapping)], more)


def _state(row: Mapping[str, Any]) -> State:
    inside = row.get("job")
    if isinstance(inside, Mapping):
        row = inside
    identity, word = _text(row, "id"), _text(row, "status")
    if not identity or not word:
        raise NonsenseError(f"a batch without an id and a status: {line(str(row)[:80])!r}")
    state = word.lower()
    counts = row.get("request_counts")
    numbers = [counts.get(name) for name in ("completed", "failed")] if isinstance(counts, Mapping) else []
    refusal = read_refusal(BAD_REQUEST, _as_json(_errors(row)))
    return State(
        identity,
        SPELLINGS.get(state, state),
        _text(row, "input_file_id"),
        tuple(filter(None, (_text(row, "output_file_id", "output_file"), _text(row, "error_file_id", "error_file")))),
        sum(number for number in numbers if isinstance(number, int) and not isinstance(number, bool) and number > 0),
        refusal.words if _errors(row) else "",
        refusal.code.lower(),
    )


def _errors(row: Mapping[str, Any]) -> Any:
    """The errors of a batch, as `read_refusal` takes them; empty for none."""
    errors = row.get("errors") or row.get("error")
    if isinstance(errors, Mapping) and "data" in errors:
        errors = errors["data"]
    return errors or []


def _text(row: Mapping[str, Any], *names: str) -> str:
    return next((whole_characters(value) for name in names if isinstance(value := row.get(name), str)), "")


def _status(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 100 <= value <= 599:
        return None
    return OK if value < 300 else value


def _object(content: bytes) -> Mapping[str, Any]:
    """A JSON object; an empty one for anything else."""
    try:
        parsed = _parse(content)
    except NonsenseError:
        return {}
    return parsed if isinstance(parsed, Mapping) else {}


def _as_json(value: Any) -> bytes:
    try:
        return json.dumps(value).encode()
    except RecursionError:  # deeper than any reply needs to be
        return b"null"


def _parse(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise NonsenseError(f"no JSON ({line(str(error), 80)})") from None
