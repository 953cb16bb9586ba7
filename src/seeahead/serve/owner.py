"""One owner of the model: a thread that reads prompts and takes steps for all clients, which come and go between steps.

A client has a ticket. Events wait in a queue of each request's tickets, so that a slow reader holds up nobody.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from time import monotonic

import torch

from seeahead.api import Engine
from seeahead.decode import Batch
from seeahead.drafters.pace import Pace
from seeahead.errors import FaultError, InputError, LengthError, ModelError, SeeaheadError, counted, shown
from seeahead.executor import ModelInputs
from seeahead.prompt import Prompt
from seeahead.records import Step
from seeahead.request import Request
from seeahead.serve.capacity import tokens_that_fit
from seeahead.serve.logprobs import Watcher
from seeahead.serve.memory import Leftovers, Slots, images_of, share_memory, turn_between
from seeahead.serve.recent import remember_images
from seeahead.serve.room import Hold, Room
from seeahead.serve.settings import READERS, OwnerLimits
from seeahead.serve.ticket import Asked, BusyError, GoneError, Ticket
from seeahead.session import check_fits

_FAILED = "the model failed while it answered; ask again"
_LETTERS = 16  # of a text for each token that there is room for

logger = logging.getLogger(__name__)


class Owner:
    """Answers the requests of many clients with one engine; `start` it, and `stop` it in the end."""

    def __init__(self, engine: Engine, drafters: Mapping[str, Engine], limits: OwnerLimits | None = None) -> None:
        """`drafters`: engines of the same target by the name of their drafter; `engine` is one of them, the default."""
        limits = limits or OwnerLimits()
        tokens = limits.cache_tokens or tokens_that_fit(engine.family)
        self.engine, self.limits = engine, limits.model_copy(update={"cache_tokens": tokens})
        self._engines = {**drafters}
        self._engines.setdefault("none", engine.with_drafter("none"))
        self.default_drafter = engine.drafter.name
        self.drafters = tuple(self._engines)
        self._is_closing = self._is_over = False
        self._began: float | None = None  # when the step under way did
        self._waiting: deque[Ticket] = deque()
        self._running: dict[Request, Ticket] = {}
        self.pace = Pace(engine.target.executor, [one.drafter for one in self._engines.values()])
        self._batch = self._empty()
        self._slots, self._leftovers = Slots(self.limits.num_kept), Leftovers()
        self._changed = threading.Condition()
        self._num_reading = 0
        self.room = Room(self.limits.image_bytes, self._image_bytes)
        self.encoding = threading.Lock()  # tokenizers of transformers are not made for several threads
        # What takes long to make images ready must not hold up those who send none.
        self.seeing, self._seeing_family = threading.Lock(), engine.family.apart()
        if self.limits.num_kept:
            remember_images(self._seeing_family.processor)
        self._readers = ThreadPoolExecutor(READERS, "seeahead-images")
        self._fetchers = ThreadPoolExecutor(READERS, "seeahead-fetches")  # of what others send as slowly as they like
        self._seconds_per_answer = 1.0
        self._thread = threading.Thread(target=self._run, name="seeahead-owner", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs, has not begun to, or has ended as it was told to."""
        return self._is_closing or not self._is_over

    @property
    def is_ready(self) -> bool:
        """Whether requests are answered: nothing hangs in a step that takes longer than an answer may."""
        began = self._began  # which the other thread may change
        is_stuck = began is not None and monotonic() - began > self.limits.timeout_seconds
        return self._thread.is_alive() and not self._is_closing and not is_stuck

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        """Those whose prompts are read as well: they count where no more can wait."""
        return len(self._waiting) + self._num_reading

    @property
    def cache_usage(self) -> float:
        """The share of the cache's tokens that answers under way may take."""
        return sum(one.num_tokens for one in list(self._running.values())) / self.limits.cache_tokens

    def start(self) -> None:
        """Measure what passes cost, then answer. Raises ModelError where requests must not share passes."""
        share_memory()
        self.engine.prover.before_batch()
        self.engine.prover.alone(True)
        self.pace.measure()
        self._slots.turn = turn_between(self.engine.family)
        self._thread.start()

    def close(self) -> None:
        """Take no further requests; those under way, and those that wait, are answered."""
        self._is_closing = True
        self._wake()
        self.room.wake()

    def stop(self, seconds: float = 30.0) -> None:
        """Close, wait at most so long for the answers under way, then drop what is left."""
        self.close()
        if self._thread.is_alive():
            self._thread.join(seconds)
        self.drop_all()
        if self._thread.is_alive():
            self._thread.join(5.0)
        self.engine.prover.alone(self._thread.is_alive())

    def drop_all(self) -> None:
        """Whoever is not answered yet is told that the server is shutting down."""
        with self._changed:
            for ticket in (*self._waiting, *list(self._running.values())):
                ticket.cancel(BusyError.closing())

    async def ask(
        self,
        wanted: Sequence[Asked],
        read: Callable[[Hold], Prompt | ModelInputs],
        *,
        has_images: bool,
        is_far: bool = False,
    ) -> list[Ticket]:
        """A ticket for each answer that is wanted to what `read` returns; `is_far`: some of it from web addresses.

        `read` runs in a thread: images are fetched, decoded and made ready there, of a few requests at a time. It is
        given what waits for the memory that images are to take. What has begun is not cut by cancelling. Raises
        InputError for what cannot be answered, and BusyError where no more can wait, before anything is read."""
        started, held, loop = monotonic(), [read], asyncio.get_running_loop()
        self._check_room()
        self._num_reading += len(wanted)
        tickets, has_gone = list[Ticket](), threading.Event()

        def check() -> None:
            if has_gone.is_set():
                raise GoneError("the client has gone away")
            self._check_open()

        try:
            readers = self._fetchers if is_far else self._readers if has_images else None
            await loop.run_in_executor(readers, self._read, wanted, held.pop, loop, started, tickets, check)
        except asyncio.CancelledError:
            has_gone.set()
            self.room.wake()
            for ticket in tickets:
                ticket.cancel()
            raise
        finally:
            held.clear()  # a pool holds what it has not begun, also where nobody waits for it any more
            self._num_reading -= len(wanted)
            if has_images:
                self._leftovers.give_back_soon()
        return tickets

    def _read(
        self,
        wanted: Sequence[Asked],
        reader: Callable[[], Callable[[Hold], Prompt | ModelInputs]],
        loop: asyncio.AbstractEventLoop,
        started: float,
        tickets: list[Ticket],
        check: Callable[[], None],
    ) -> None:
        """Adds to `tickets`, and has them wait; `check` raises where nobody wants them any more."""
        with self.room.holding(check) as hold:
            given, prompt = reader()(hold), None
            if isinstance(given, Prompt):
                sees = bool(given.images)
                with self.seeing if sees else self.encoding:
                    check()  # others' images may have taken long
                    prompt, given = given, (self._seeing_family if sees else self.engine.family).encode(given)
            check_fits(given.length, self.engine.target.executor.limits.max_length)
            tickets += [self._made(asked, given, loop) for asked in wanted]
            images, ready = images_of(given), cache(partial(self.engine.target.executor.ready, given))
            for number, ticket in enumerate(tickets):  # which share what is made of the images
                ticket.number, ticket.events, ticket.started = number, tickets[0].events, started
                ticket.is_chat = prompt is not None
                ticket.request.keeps &= number == 0  # one slot is enough for what all of them begin with
                ticket.images, ticket.request.ready = images, ready
                ticket.request.ask(given, prompt)
            with self._changed:
                check()
                self._waiting += tickets
                self._changed.notify()

    def engine_of(self, drafter: str | None) -> Engine:
        """With the drafter of that name; None: the default one. Raises InputError for a name that is not here."""
        engines = {"auto": self.engine, **self._engines}
        if drafter is not None and drafter not in engines:
            raise InputError(f"there is no drafter {shown(drafter)} here; allowed are {', '.join(engines)}")
        return self.engine if drafter is None else engines[drafter]

    def _made(self, asked: Asked, inputs: ModelInputs, loop: asyncio.AbstractEventLoop) -> Ticket:
        engine = self.engine_of(asked.drafter)
        with self.encoding:
            answer = engine.answer({**asked.settings, "prompt": inputs})
        request, number = answer.request, asked.num_logprobs
        watcher = None if number is None else Watcher(self.engine.family.tokenizer, answer.detokenizer.to_text, number)
        ticket = Ticket(answer, asked, loop, self._wake, watcher)
        if ticket.num_tokens > self.limits.cache_tokens:
            raise LengthError(
                f"prompt and answer may have {ticket.num_tokens} tokens, this server has memory for "
                f"{self.limits.cache_tokens}; ask for fewer tokens"
            )
        is_whole = request.executor.limits.whole_prompts
        request.keeps = not is_whole and self.engine.family.indivisible(inputs) < inputs.length
        request.watch = None if watcher is None else watcher.watch
        request.most_nodes = asked.num_nodes
        return ticket

    def check_length(self, text: str) -> None:
        """Raises InputError for a text that is far too long, before it is read: others would wait meanwhile."""
        longest = self.engine.target.executor.limits.max_length or self.limits.cache_tokens
        most = _LETTERS * min(longest, self.limits.cache_tokens)
        if len(text) > most:
            raise LengthError(f"the text has {len(text):,} letters; at most {most:,} are read here")

    def _image_bytes(self) -> int:
        """Of requests that are read already; answers to one prompt share them, those that wait have more of them."""
        with self._changed:
            tickets = [*list(self._running.values()), *self._waiting]
        return sum({id(ticket.request.inputs): ticket.num_bytes for ticket in tickets}.values())

    def _check_open(self) -> None:
        if self._is_closing or self._is_over:
            raise BusyError.closing()

    def _check_room(self) -> None:
        """For a request that is to be read."""
        self._check_open()
        limits, num_waiting = self.limits, self.num_waiting
        if len(self._running) + num_waiting >= limits.num_at_once + limits.max_waiting:
            seconds = max(1.0, self._seconds_per_answer * num_waiting / limits.num_at_once)
            raise BusyError(f"{counted(num_waiting, 'request')} waiting already; ask again later", seconds)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    # ---- the owner's thread

    def _run(self) -> None:
        try:
            self._answer()
        finally:  # if it was not told to end, nobody is to wait for what does not come
            with self._changed:
                self._is_over = True
                for ticket in (*self._waiting, *self._running.values()):
                    ticket.abandon(ModelError(_FAILED))

    @torch.inference_mode()
    def _answer(self) -> None:
        while True:
            with self._changed:
                is_quiet = False
                while not is_quiet and not self._waiting and not self._running:
                    if self._is_closing:
                        return
                    was_told = self._changed.wait(self._slots.quiet_seconds)
                    is_quiet = not was_told and self._num_reading == 0
            self._began = monotonic()
            try:
                self._round() if self._waiting or self._running else self._read_ahead()
            except Exception:  # whatever it is, the next requests are to be answered
                logger.exception("a step failed")
                self._fail_all(ModelError(_FAILED))
            self._began = None
            self.room.wake()

    def _read_ahead(self) -> None:
        self._slots.read_ahead()
        self._slots.shrink(self.limits.cache_tokens)

    def _round(self) -> None:
        self._drop()
        self._admit()
        # Whose images are being encoded comes in a moment; who is still fetched or waits for memory may take long.
        comes = self.seeing.locked() and len(self._running) < self.limits.num_at_once
        for request, step in self._batch.step(somebody_comes=comes):
            self._tell(self._running[request], step)
            if request.finish_reason is not None:
                self._ended(request)

    def _empty(self) -> Batch:
        return Batch(self.limits.prompt_tokens, cuts=True, shares=self.pace)

    def _tell(self, ticket: Ticket, step: Step | None) -> None:
        fault = ticket.request.error
        if isinstance(fault, FaultError):  # what it was is for the log
            logger.error("an answer failed", exc_info=fault.raised)
            ticket.request.error = ModelError(_FAILED)
        try:
            ticket.tell(step)
        except Exception:  # of the one whose text cannot be told, and of nobody else
            logger.exception("an answer could not be told")
            error = ticket.request.error or ModelError("the answer could not be told; ask again")
            ticket.request.fail(error)
            ticket.abandon(error)

    def _drop(self) -> None:
        """Those whose client has gone leave now."""
        with self._changed:
            gone = [ticket for ticket in self._waiting if ticket.is_cancelled]
            self._waiting = deque(ticket for ticket in self._waiting if not ticket.is_cancelled)
        for ticket in (*gone, *(ticket for ticket in self._running.values() if ticket.is_cancelled)):
            ticket.request.leave(ticket.why)
        for ticket in gone:
            self._tell(ticket, None)

    def _admit(self) -> None:
        """As many of those that wait as there is room for, in their order."""
        while self._waiting and len(self._running) < self.limits.num_at_once:
            used = sum(ticket.num_tokens for ticket in self._running.values())
            room = self.limits.cache_tokens - used - self._waiting[0].num_tokens
            if room < 0:
                return
            with self._changed:
                ticket = self._waiting.popleft()
            request, ticket.seconds_queued = ticket.request, monotonic() - ticket.started
            self._running[request] = ticket
            self._batch.join(request)
            with request.failing():
                self._slots.lend(request, ticket.images, self.engine.family)
            self._slots.shrink(room)

    def _ended(self, request: Request) -> None:
        ticket = self._running.pop(request)
        self._seconds_per_answer += 0.1 * (ticket.seconds - ticket.seconds_queued - self._seconds_per_answer)
        with request.failing():
            self._slots.keep(request, ticket.images, self.engine.family, goes_on=ticket.is_chat)
        if request.inputs.extras:  # its images were held until they were read
            self._leftovers.give_back_soon()

    def _fail_all(self, error: SeeaheadError) -> None:
        for request, ticket in list(self._running.items()):
            request.fail(error)
            self._tell(ticket, None)
            self._ended(request)
        self._batch = self._empty()
