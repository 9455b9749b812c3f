"""The exchange's side of one replayed connection, whatever library is at the other end.

A frame is due once the client has sent everything that was sent before it in the recording; messages are compared
without ids and signatures (`messages`). Which of several recorded connections to one URL it is shows in the client's
first message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from pytest_marketreplay.cassette.entry import Headers, header_pairs, standard_reason
from pytest_marketreplay.cassette.frame import DATA, Frame, Opcode, close_payload
from pytest_marketreplay.cassette.redaction import SECRETS
from pytest_marketreplay.errors import MarketReplayError, StreamError, StreamStalled, TapeEnded, UnrecordedFrame
from pytest_marketreplay.replay.stream.messages import Message, is_acknowledgement, renumbered
from pytest_marketreplay.replay.stream.recorded import Resume
from pytest_marketreplay.replay.stream.resuming import answers_again, sent_again

if TYPE_CHECKING:
    from pytest_marketreplay.replay.recognise import Known
    from pytest_marketreplay.replay.stream.recorded import Connection, Sent
    from pytest_marketreplay.replay.stream.streams import Streams

_MOST_SHOWN = 3
_LONGEST_SHOWN = 200
_GOING_AWAY = 1001


class Event(NamedTuple):
    """Something that the exchange does to a connection."""

    time_ns: int
    """When it happened in the recording, Unix epoch in nanoseconds."""
    opcode: Opcode | None
    """None: the connection is lost without a close frame."""
    data: bytes
    """The payload exactly as recorded; only the id of an acknowledgement follows the client's."""
    error: str | None = None
    """How it was lost: `disconnected`, `reset`."""


Deliver = Callable[[Event], None]
Fail = Callable[[MarketReplayError], None]


class Player:
    """One replayed connection. Its timeline asks it what comes next; the interception tells it what the client sends."""

    def __init__(self, streams: Streams, known: Known, url: str, candidates: list[Connection]) -> None:
        self._streams, self.known = streams, known
        self.url = url
        """As the client asked it, without its secrets."""
        self._candidates = candidates
        self.connection: Connection | None = None
        """The recorded connection that is played; None before the client has told which it is."""
        self.lead = candidates[0]
        self._unmet: deque[Sent] = deque()
        self._welcome: list[Sent] = []
        self._resume: Resume | None = None
        self._ids: dict[tuple[str, bytes], bytes] = {}
        self._next: Event | None = None
        self._made: deque[Event] = deque()
        self._given = 0
        self.is_closed = False
        """Whether client or exchange have ended it."""
        self.is_over = False
        """Whether the recording has no more of it."""
        self._shift_ns = 0
        self._is_again = self._was_left = False
        self.deliver: Deliver = _nowhere
        """Set by the interception: gives an event to the client."""
        self.fail: Fail = _nowhere
        """Set by the interception: ends the connection with an error that says why."""
        self.is_awaited: Callable[[], bool] = _always
        """Set by the interception, where it can tell: whether the client waits for a frame at this moment."""
        self.is_held = False
        """Set by the interception, where it can tell: the client has more frames than it reads; no more come now."""
        self.offset_base: float = 0.0
        """The real time at which it was opened, where frames come in real time."""
        if not self.lead.sends or len(candidates) == 1:
            self._bind(self.lead)
        else:
            self._read(self.lead)

    # ---------------------------------------------------------------- the handshake

    @property
    def status(self) -> int:
        """The recorded answer to the upgrade: 101, another status, or 0 where nothing answered."""
        opening = self.lead.opening
        return 101 if opening is None or opening.meta.status is None else opening.meta.status

    @property
    def reason(self) -> str:
        """The reason phrase of the answer."""
        opening = self.lead.opening
        if opening is None or opening.meta.reason is None:
            return standard_reason(self.status)
        return opening.meta.reason

    @property
    def headers(self) -> Headers:
        """The recorded headers of the answer; those of the handshake itself are the interception's."""
        opening = self.lead.opening
        return header_pairs(opening.meta.headers) if opening is not None else []

    @property
    def body(self) -> bytes:
        """The body of an answer that refused the upgrade."""
        opening = self.lead.opening
        return b"" if opening is None or bytes(opening.response) == b"null" else opening.data()

    @property
    def error(self) -> str | None:
        """What failed where nothing answered: `connect`, `dns`, ..."""
        return self.lead.opening.meta.error if self.lead.opening is not None else None

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the exchange chose."""
        return self.lead.opening.meta.subprotocol if self.lead.opening is not None else None

    @property
    def opened_ns(self) -> int:
        """When the recorded connection was opened, Unix epoch in nanoseconds; where it was cut, when it goes on."""
        return self._resume.time_ns + self._resume.shift_ns if self._resume is not None else self.lead.first_ns

    # ---------------------------------------------------------------- which connection it is

    def _read(self, connection: Connection) -> None:
        self._lines: Iterator[Frame] = connection.frames()
        self._position = -1
        self._unmet, self._welcome = deque(connection.sends), []
        self._next = None
        self.is_over = False
        self._resume = resume = connection.resume
        if resume is not None:
            self._shift_ns, self._is_again = resume.shift_ns, resume.is_again
            required, self._welcome = sent_again(connection.sends, resume)
            self._unmet = deque(required)

    def _bind(self, connection: Connection) -> None:
        """Play this connection from here on; what the other candidate has given already is passed over."""
        self.connection = connection
        connection.was_played = True
        given = self._given
        if given == 0 or connection is not self.lead:
            self.lead = connection
            self._read(connection)
            self._given = 0
            while self._given < given and self._ahead() is not None:
                self._next = None
                self._given += 1
        connection.resume = None
        self._candidates = []

    def _choose(self, message: Message) -> None:
        """Bind to the connection whose client sent this first."""
        # another client may have taken the lead meanwhile: two that subscribe to the same get a connection each
        free = [each for each in self._candidates if not each.was_played]
        rivals = sorted(free, key=lambda each: each is not self.lead)
        for connection in rivals:
            if any(sent.message.text == message.text for sent in connection.sends[:1]):
                self._bind(connection)
                return
        for connection in rivals:  # clients that subscribe in another order than they did
            if any(sent.message.text == message.text for sent in connection.sends):
                self._bind(connection)
                return
        raise self._unrecorded(message, [sent for connection in rivals for sent in connection.sends[:1]])

    # ---------------------------------------------------------------- what comes next

    def head(self) -> Event | None:
        """Return the next event, or None where there is none: the recording is over or waits for the client.

        Raises DamagedCassette.
        """
        if self.is_closed:
            return None
        if self._made:
            return self._made[0]
        event = self._ahead()
        if (faults := self._streams.faults) is None:
            return event
        while event is not None:
            self._next = None
            self._given += 1
            self._made.extend(faults.frames(self, event))
            if self._made:
                return self._made[0]
            event = self._ahead()
        self._made.extend(faults.held(self))  # its successor does not come before the client has it
        return self._made[0] if self._made else None

    def _ahead(self) -> Event | None:
        while self._next is None:
            if self._unmet and self._unmet[0].position <= self._position:
                return None
            frame = next(self._lines, None)
            self._position += 1
            if frame is None:
                self.is_over = True
                self._position -= 1
                self._lines = iter(())
                return None
            self._next = self._event(frame)
        return self._next

    def _event(self, frame: Frame) -> Event | None:
        """Return what a recorded line does to the client; None where it does nothing."""
        meta = frame.meta
        if meta.dir == "recv" and meta.opcode != "pong":  # a client's ping is answered when it comes
            if self._resume is not None and self._position < self._resume.position:
                if not answers_again(frame.data(), self.known.venue.request_ids, self._welcome):
                    return None  # it came before the connection was lost
            elif self._is_again and is_acknowledgement(frame.data(), self.known.venue.request_ids):
                return None  # it answered the client, once
            data = frame.data() if meta.opcode in DATA or bytes(frame.response) != b"null" else b""
            if meta.opcode == "close":
                data = close_payload(meta.code, data)
            return Event(frame.time_ns + self._shift_ns, meta.opcode, data)
        if meta.dir == "end" and meta.error != "limit":
            return Event(frame.time_ns + self._shift_ns, None, b"", meta.error or "disconnected")
        if meta.dir == "send" and meta.opcode == "close":
            self._lines = iter(())  # what the exchange said after that, the client did not wait for
            self._was_left = True
        return None

    def take(self) -> Event:
        """Take the event that `head` returned; an acknowledgement has the client's number in it."""
        if self._made:
            event = self._made.popleft()
            if (faults := self._streams.faults) is not None:
                faults.taken(self, event)
        else:
            event = self._next  # type: ignore[assignment]
            self._next = None
            self._given += 1
        if self._ids and event.opcode == "text":
            event = event._replace(data=renumbered(event.data, self._ids))
        if event.opcode is None or event.opcode == "close":
            self.is_closed = True
        return event

    def leave_to_the_next(self, event: Event) -> None:
        """Let a client that connects again go on with this event: the connection is lost before it by a fault."""
        connection = self.connection or self.lead
        connection.was_played = False
        if self._resume is not None and self._position < self._resume.position:
            connection.resume = self._resume  # cut again while it was told what it had been told before
        else:
            at_ns = event.time_ns - self._shift_ns
            connection.resume = Resume(self._position, at_ns, self._shift_ns, self._is_again)
        self._lines = iter(())
        self._next = None

    def again(self) -> bool:
        """Start over where the recording was over; returns whether there is anything that plays without the client."""
        connection = self.connection or self.lead
        after = connection.sends[-1].position if connection.sends else 0
        length = max(connection.last_ns - connection.first_ns, 1_000_000)
        opened = self._resume
        self._read(connection)
        self._resume = opened and opened._replace(position=0)  # only the pace still asks for it
        self._unmet.clear()
        self._shift_ns += length
        self._is_again = True
        while self._position < after and (frame := next(self._lines, None)) is not None:
            self._position += 1
            del frame
        return self._ahead() is not None

    # ---------------------------------------------------------------- what the client does

    def sent(self, opcode: Opcode, data: bytes) -> None:
        """Take a message of the client. Raises UnrecordedFrame for one that the recording does not hold."""
        if opcode == "close":
            self.is_closed = True
        elif opcode not in DATA:
            return  # a ping moves nothing on: a client whose keepalive runs on by itself may still wait in vain
        elif not self.is_closed:
            message = Message(self._streams.matcher(self.known.venue), data, binary=opcode == "binary")
            if message.is_keepalive:
                return
            self._match(message)
        self._streams.timeline.progressed(self)

    def _match(self, message: Message) -> None:
        if self.connection is None:
            self._choose(message)
        for sent in (*self._unmet, *self._welcome):
            if sent.message.text == message.text:
                (self._unmet if sent in self._unmet else self._welcome).remove(sent)
                (self.connection or self.lead).made.add(sent.position)
                for name, new in message.ids.items():
                    old = sent.message.ids.get(name)
                    if old is not None and old != new:
                        self._ids[name, old] = new
                return
        raise self._unrecorded(message, list(self._unmet))

    def lost(self) -> None:
        """Note that the client is gone."""
        self.is_closed = True
        self._streams.timeline.progressed(self)

    # ---------------------------------------------------------------- verdicts

    def _unrecorded(self, message: Message, expected: list[Sent]) -> StreamError:
        shown = [f"  {_short(sent.message.text)}" for sent in expected[:_MOST_SHOWN]]
        more = [f"  ... and {len(expected) - _MOST_SHOWN} more"] if len(expected) > _MOST_SHOWN else []
        awaited = ["awaited, in the order recorded:", *shown, *more] if shown else ["nothing more was sent in it"]
        text = "\n".join([f"sent: {_short(message.text)}", *awaited, self._streams.cure()])
        return self._refuse(UnrecordedFrame, text)

    def verdict(self) -> StreamError:
        """Return why a client that waits for a frame will get none; the test fails by it.

        Where the client itself closed the connection in the recording, all is played that it had then: a reader that still
        waits in the background is told so, and the test does not fail by that alone.
        """
        firsts = dict.fromkeys(_short(each.sends[0].message.text) for each in self._candidates if each.sends)
        if self.connection is None and len(firsts) > 1:
            shown = "\n".join(f"  {first}" for first in list(firsts)[:_MOST_SHOWN])
            return self._refuse(StreamStalled, f"awaited of the client, one of:\n{shown}\n{self._streams.cure()}")
        if (self._unmet and not self.is_over) or self.connection is None:
            awaited = _short(self._unmet[0].message.text)
            return self._refuse(StreamStalled, f"awaited of the client: {awaited}\n{self._streams.cure()}")
        if self._streams.timeline.is_stepped and not self.is_over:
            return self._refuse(StreamStalled, 'pace="step": nobody takes the next step (market_replay.step())')
        played = f"{self.connection.count} recorded lines were played"
        ways = 'to have it closed instead: end_of_tape="close"; to start over: end_of_tape="loop"'
        return self._refuse(TapeEnded, f"{played}\n{ways}\n{self._streams.cure()}", late=self._was_left)

    def end(self) -> Event:
        """Let a close frame come, now that the recording is over (`end_of_tape="close"`)."""
        at = max(self._streams.timeline.now_ns, self.lead.last_ns + self._shift_ns)
        self._made.append(Event(at, "close", close_payload(_GOING_AWAY, b"the recording has ended")))
        return self._made[0]

    def _refuse(self, kind: type[StreamError], text: str, *, late: bool = False) -> StreamError:
        error = kind(self.url, self._streams.described, SECRETS.scrub(text))
        if not late:
            self._streams.session.refuse(error)
        if kind is not UnrecordedFrame:
            self._streams.timeline.judged(error, late=late)
        return error


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def _nowhere(_: object) -> None:
    """Take what comes before the interception is ready; the timeline asks only players that were attached."""


def _always() -> bool:
    return True  # pragma: no cover - every client of today can tell
