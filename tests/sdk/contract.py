"""What holds for every SDK; a module about one of them gives its stories."""

from __future__ import annotations

from typing import Any, ClassVar

from .stage import Play, Recorded

FASTER = 5.0
"""How much faster than real time a replay in virtual pace is at least."""
MOST_TRIES = 3
"""A machine with other work may slow down a replay of 10 ms."""


class SdkContract:
    """The tests of one SDK. Subclassed with its stories."""

    plays: ClassVar[dict[str, Play]]

    def test_it_gets_the_same_again_when_the_exchange_is_gone(self, play: Play, recorded: Recorded, clock: str) -> None:
        replayed = recorded.replay(play, clock=clock)
        assert play.same(recorded.got, replayed.got), (recorded.got, replayed.got)


class StreamContract(SdkContract):
    """The tests of one SDK that streams too."""

    def test_seconds_of_stream_pass_in_a_fraction_of_their_time(
        self, streaming_play: Play, recorded_stream: Recorded, clock: str, record_property: Any
    ) -> None:
        assert recorded_stream.seconds > 1.5  # else there would be nothing to be faster than
        ratio = 0.0
        for _ in range(MOST_TRIES):
            seconds = recorded_stream.replay(streaming_play, clock=clock).seconds
            ratio = max(ratio, recorded_stream.seconds / seconds)
            print(f"{recorded_stream.seconds:.2f} s of stream replayed in {seconds:.3f} s")
            if ratio >= FASTER:
                break
        record_property("faster_than_real_time", round(ratio, 1))
        print(f"{ratio:.0f} x faster than real time")
        assert ratio >= FASTER
