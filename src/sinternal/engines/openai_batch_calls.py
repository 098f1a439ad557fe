"""What a server is asked about files and batches, and what is noted of it before and after."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import openai

from sinternal.engines.openai_attempts import read_cause, refusal_of
from sinternal.engines.openai_batch_files import State, read_batch, read_file_id, read_page
from sinternal.engines.openai_journal import Journal
from sinternal.engines.openai_options import BatchOptions
from sinternal.engines.openai_replies import NonsenseError
from sinternal.engines.openai_server import Server
from sinternal.errors import EngineError

LOOKS = 10
"""Looks at a batch, one after another, that may fail until its server counts as away."""
WAITS_TO_CREATE = (1.0, 5.0, 20.0)
"""Seconds before it is tried again to make a batch of an uploaded file."""
PAGES = 20
"""Pages of 100 batches that are looked through for one."""


class ErrandError(Exception):
    """A call about files or batches failed."""

    def __init__(self, status: int | None, words: str) -> None:
        """`status`: of the reply, None if there was none; `words`: what went wrong, in one line."""
        super().__init__(words)
        self.status = status

    @property
    def may_pass(self) -> bool:
        """Whether it may succeed later, or even has."""
        return self.status is None or self.status in (200, 408, 409, 425, 429) or self.status >= 500

    @property
    def is_not_ready(self) -> bool:
        """Whether a server (Azure) still looks at the file that was uploaded."""
        return self.status == 400 and any(word in str(self).lower() for word in ("pending", "not ready", "processed"))


class BatchCalls:
    """Calls about files and batches. Each batch goes by its note in the journal."""

    def __init__(self, server: Server, client: openai.AsyncOpenAI, options: BatchOptions, journal: Journal) -> None:
        """Ask a server by one of its clients, and note in a journal what comes of it."""
        self.server = server
        self.client = client
        self.options = options
        self.journal = journal

    async def upload(self, file: Path, content: bytes) -> None:
        """Send a batch's file, and note its id. Raises EngineError if the server does not take it."""
        try:
            reply = await self._call(
                "POST",
                "/files",
                body={"purpose": "batch"},
                files=[("file", (f"sinternal-{file.stem}.jsonl", content, "application/jsonl"))],
                headers={"Content-Type": "multipart/form-data"},
            )
            self._note(file, input_file=read_file_id(reply))
        except (ErrandError, NonsenseError) as error:
            self.journal.forget(file)
            raise EngineError(
                f"{self.server.url} does not take the file of a batch ({self.server.clean(str(error))}); set the "
                "engine's option batch to null if it takes no batches"
            ) from error

    async def create(self, file: Path, endpoint: str) -> str:
        """Make a batch of an uploaded file, and note its id. Where the answer is lost, the server is asked what it has.

        Args:
            file: the note of the batch.
            endpoint: where its requests would be posted to.

        Returns:
            The id.

        Raises:
            EngineError: the server makes none.
        """
        state = await self._create(file, endpoint)
        self._note(file, batch=state.id)
        return state.id

    async def _create(self, file: Path, endpoint: str) -> State:
        input_file = self.journal.entries[file].input_file
        body = {"input_file_id": input_file, "endpoint": endpoint, "completion_window": self.options.window}
        for wait in (*WAITS_TO_CREATE, None):
            try:
                return read_batch(await self._call("POST", "/batches", body=body, max_retries=0))
            except (ErrandError, NonsenseError) as error:
                failure = error if isinstance(error, ErrandError) else ErrandError(200, str(error))
            if not (failure.may_pass or failure.is_not_ready):
                self.journal.forget(file)
                raise EngineError(
                    f"{self.server.url} makes no batch ({failure}); see the engine's option batch, or set it to null"
                )
            if state := await self.find(file):
                return state
            if wait is not None:
                await asyncio.sleep(wait)
        self.journal.forget(file)
        raise EngineError(f"{self.server.url} makes no batch at present: {failure}; run again")

    async def find(self, file: Path) -> State | None:
        """The batch that was made of an uploaded file, noted; None if there is none.

        Raises:
            EngineError: the server does not tell.
        """
        entry, after = self.journal.entries[file], ""
        try:
            for _ in range(PAGES):
                query = {"limit": "100"} | ({"after": after} if after else {})
                page = read_page(await self._call("GET", "/batches", query=query))
                for state in page.states:
                    if state.input_file == entry.input_file:
                        self._note(file, batch=state.id)
                        return state
                    if not state.input_file:
                        raise NonsenseError("it lists batches without their files")
                if not page.more or not page.states:
                    return None
                after = page.states[-1].id
        except (ErrandError, NonsenseError) as error:
            raise EngineError(
                f"{self.server.url} does not say whether a batch was made of file {self.server.clean(entry.input_file)}"
                f" ({self.server.clean(str(error))}); run again later or, if it has no such batch, delete {file}"
            ) from error
        return None

    async def wait(self, file: Path, tell: Callable[[str], None]) -> State:
        """Look at a batch until it has ended.

        Args:
            file: the note of the batch.
            tell: told how far it is.

        Raises:
            EngineError: the server does not say.
        """
        entry = self.journal.entries[file]
        failed, told = 0, ""
        while True:
            try:
                state = read_batch(await self._call("GET", f"/batches/{quote(entry.batch, safe='')}"))
            except (ErrandError, NonsenseError) as error:
                failed += 1
                if isinstance(error, ErrandError) and error.status == 404:
                    raise self._gone(f"batch {entry.batch}", file) from error
                refused = isinstance(error, ErrandError) and not error.may_pass
                if refused or failed >= LOOKS:
                    raise EngineError(
                        f"{self.server.url} does not say how far batch {self.server.clean(entry.batch)} is "
                        f"({self.server.clean(str(error))}); it goes on there, run again to fetch it"
                    ) from error
                if failed == 1:
                    tell(
                        f"{self.server.clean(str(error))}; it is looked at again every {self.options.poll:g} s, up to "
                        f"{LOOKS} times in a row. Ctrl-C stops: the batch goes on there, and the next run fetches it"
                    )
            else:
                failed = 0
                if state.ended:
                    return state
                words = f"{state.done:,} of {len(entry.ids):,} done"
                if words != told:
                    tell(words)
                told = words
            await asyncio.sleep(self.options.poll)

    async def download(self, identity: str, file: Path) -> bytes:
        """A file that a batch has written. Raises EngineError if the server does not give it."""
        try:
            return await self._call("GET", f"/files/{quote(identity, safe='')}/content")
        except ErrandError as error:
            if error.status in (404, 410):
                raise self._gone(f"file {identity}", file) from error
            raise EngineError(
                f"{self.server.url} does not give file {self.server.clean(identity)} ({error}); run again to fetch it"
            ) from error

    def _gone(self, what: str, file: Path) -> EngineError:
        return EngineError(
            f"{self.server.url} does not know {self.server.clean(what)}, which was handed in before: it is another "
            f"key's, or deleted; delete {file} to ask its requests anew"
        )

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        max_retries: int | None = None,
        **content: Any,
    ) -> bytes:
        """A call about files or batches. Raises ErrandError."""
        client = self.client if max_retries is None else self.client.with_options(max_retries=max_retries)
        options: Any = {"headers": {**self.server.headers, **(headers or {})}}
        if query:
            options["params"] = query
        try:
            if method == "GET":
                response = await client.get(path, cast_to=httpx2.Response, options=options)
            else:
                response = await client.post(path, cast_to=httpx2.Response, options=options, **content)
        except openai.APIStatusError as error:
            refusal = refusal_of(error)
            raise ErrandError(
                refusal.status, f"it answered {refusal.status}: {self.server.clean(refusal.words)}"
            ) from error
        except openai.APIConnectionError as error:
            raise ErrandError(None, f"it {read_cause(error, self.server.options.timeout)}") from error
        return response.content

    def _note(self, file: Path, **known: str) -> None:
        self.journal.update(file, self.journal.entries[file].model_copy(update=known))
