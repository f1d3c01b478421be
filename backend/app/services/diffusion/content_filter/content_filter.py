"""The hook for a user's content filter, and the way of a request through all filters.

    class NoNames(ContentFilter):
        async def filter_input(self, text, *, field):
            if await names_in(text):
                raise ContentRejected("names are not allowed", field=field)
            return text

        def open_output(self):
            return NoNamesOutput()  # an OutputFilter

    service.content_filter = NoNames()

It comes after the rules file of the setting `content_filter`, if there is one.
"""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Collection, Sequence
from typing import Any, TypeVar

from app.services.diffusion.content_filter.canvas import Step, without_hidden
from app.services.diffusion.errors import ContentRejected, GenerationFailed, InvalidParameters, ServiceError
from app.services.diffusion.models import DiffusionChatParams, GivenAsIds
from app.services.diffusion.reading import Asked, DiffusionReadParams
from app.services.diffusion.reading_request import ReadingRequest

Given = TypeVar("Given")

_INPUT_FIELDS = ("text", "prefix", "suffix")

logger = logging.getLogger(__name__)


class OutputFilter(ABC):
    """Filters one answer, which comes piece by piece. Runs on the event loop: hand heavy work to a thread."""

    @abstractmethod
    async def feed(self, text: str) -> str:
        """The text that may leave now; keep back what more text could make forbidden. What has left stays.

        Raises:
            ContentRejected: the answer ends here, as an error.
        """

    @abstractmethod
    async def flush(self) -> str:
        """The text that was held back, at the end of the answer. Raises as `feed` does."""

    async def hidden(self, canvas: Sequence[str | None]) -> Collection[int]:
        """The positions of an unfinished canvas that must not be shown, `None` being a mask. All, unless overridden."""
        return range(len(canvas))


class ContentFilter(ABC):
    """Says what may go to a model and what may come back. One object serves all requests, many at a time."""

    @abstractmethod
    async def filter_input(self, text: str, *, field: str) -> str:
        """The text that the model gets instead of a request's `text`, `prefix` or `suffix`; an empty one refuses the
        request.

        Raises:
            ContentRejected: the request is refused. Name the field, and not what was found.
        """

    @abstractmethod
    def open_output(self) -> OutputFilter:
        """A filter for one answer."""


async def filtered_input(params: Asked, filters: Sequence[ContentFilter]) -> Asked:
    """The request as a model may see it.

    Returns:
        The very same object where there is no filter.

    Raises:
        InvalidParameters: it asks for what would show more than a filter can look at.
        ContentRejected: a filter refuses it, or leaves nothing.
        GenerationFailed: a filter broke; the request goes no further.
    """
    if not filters:
        return params
    _refuse_what_cannot_be_filtered(params)
    if isinstance(params, ReadingRequest):
        return params.with_texts([await _through(filters, text, params.FIELD_OF_TEXTS) for text in params.all_texts])
    if isinstance(params, DiffusionChatParams):
        return await _filtered_conversation(params, filters)
    given = {field: getattr(params, field, "") for field in _INPUT_FIELDS}
    filtered = {field: await _through(filters, text, field) for field, text in given.items() if text}
    return params.model_copy(update=filtered)


def _refuse_what_cannot_be_filtered(params: Asked) -> None:
    if params.logprobs is not None:
        raise InvalidParameters(
            "logprobs tell what a content filter hides, and one is in force; leave them out", field="logprobs"
        )
    if isinstance(params, DiffusionReadParams) and any(part.hole and not part.choices for part in params.parts):
        raise InvalidParameters(
            "a hole without choices tells what a content filter hides, and one is in force; give it choices",
            field="parts",
        )
    if isinstance(params, GivenAsIds):
        raise InvalidParameters(
            "token ids cannot be read by the content filter that is in force; send the text itself",
            field="token_ids",
        )


async def _filtered_conversation(params: DiffusionChatParams, filters: Sequence[ContentFilter]) -> DiffusionChatParams:
    contents = [
        await _through(filters, message.content, f"messages[{index}]") if message.content else ""
        for index, message in enumerate(params.messages)
    ]
    options = {
        name: await _through(filters, value, f"chat_template_kwargs.{name}")
        if isinstance(value, str) and value
        else value
        for name, value in params.chat_template_kwargs.items()
    }
    await _check_tools(params, filters)
    return params.with_contents(contents).model_copy(update={"chat_template_kwargs": options})


async def _check_tools(params: DiffusionChatParams, filters: Sequence[ContentFilter]) -> None:
    """Refuses tools in which a filter would change anything: they are no text of which a part could be masked."""
    written = json.dumps(params.tools, ensure_ascii=False) if params.tools else ""
    if written and await _through(filters, written, "tools") != written:
        raise ContentRejected("the content filter would change tools; describe them in other words", field="tools")


class FilteredOutput:
    """One answer on its way through the filters, and what has come out of them so far.

    Args:
        is_constrained: whether the answer obeys a constraint, which it might not with other words: then a filter that
            changes it refuses it.
    """

    def __init__(self, filters: Sequence[ContentFilter] = (), *, is_constrained: bool = False) -> None:
        self._outputs = [content_filter.open_output() for content_filter in filters]
        self._released: list[str] = []
        self._is_constrained = is_constrained
        self._held = ""  # of a constrained answer: what went in and has not come out

    @property
    def text(self) -> str:
        """All that `feed` and `flush` have given."""
        return "".join(self._released)

    async def feed(self, text: str) -> str:
        """The text that may leave now. Raises as `filtered_input` does."""
        self._held += text if self._is_constrained else ""
        return self._release(await self._feed(self._outputs, text))

    async def flush(self) -> str:
        """The text that was held back, at the end of the answer. Raises as `feed` does."""
        rest = ""
        for index, output in enumerate(self._outputs, 1):
            rest += await self._feed(self._outputs[index:], await _guarded(output.flush()))
        released = self._release(rest)
        if self._held:
            raise _changed()
        return released

    async def filter_step(self, data: Any) -> Any | None:
        """The data of a `step` event without what must not be seen; `None` if it is none that a filter understands."""
        if not self._outputs:
            return data
        step = Step.of(data)
        if step is None:
            return None
        hidden = {index for output in self._outputs for index in await _guarded(output.hidden(step.canvas))}
        return without_hidden(step, hidden)

    async def _feed(self, outputs: Sequence[OutputFilter], text: str) -> str:
        for output in outputs:
            text = await _guarded(output.feed(text)) if text else ""
        return text

    def _release(self, text: str) -> str:
        if self._is_constrained and not self._held.startswith(text):
            raise _changed()
        self._held = self._held[len(text) :]
        self._released.append(text)
        return text


def _changed() -> ContentRejected:
    return ContentRejected("the content filter would change the answer, which then might not obey its constraint")


async def _through(filters: Sequence[ContentFilter], text: str, field: str) -> str:
    for content_filter in filters:
        text = await _guarded(content_filter.filter_input(text, field=field))
        if not text:
            raise ContentRejected(f"{field} is left empty by the content filter", field=field)
    return text


async def _guarded(work: Awaitable[Given]) -> Given:
    """A filter that breaks lets nothing through."""
    try:
        return await work
    except ServiceError:
        raise
    except Exception as error:
        logger.exception("a content filter broke")
        raise GenerationFailed("a content filter broke; the server's log says why") from error
