"""Bins over time, counted here event by event in Python's integers; streams give the frames of the whole."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spikeproof.toolkit.coding import Events
from spikeproof.toolkit.data import places
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.events.binning import Bins
from spikeproof.toolkit.events.recording import Recording, Stream

WIDTH, HEIGHT = 7, 5
EVENT = st.tuples(st.integers(0, 60), st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(0, 1))
RECORDINGS = st.lists(EVENT, min_size=1, max_size=40).map(lambda events: sorted(events, key=lambda event: event[0]))
RULES = st.one_of(
    st.builds(dict, count=st.integers(1, 9)),
    st.builds(dict, microseconds=st.integers(1, 30), start=st.none() | st.integers(0, 70)),
    st.builds(dict, events=st.integers(1, 12)),
)
CROPS = st.none() | st.sampled_from([(0, 0, 7, 5), (1, 2, 3, 2), (6, 4, 1, 1), (2, 0, 5, 5)])
OPTIONS = st.fixed_dictionaries(
    {
        "steps": st.none() | st.integers(1, 12),
        "values": st.sampled_from(["binary", "counts"]),
        "polarity": st.sampled_from(["channels", "merged", "on", "off", "signed"]),
        "crop": CROPS,
        "downsample": st.integers(1, 4),
    }
)


def made(events: list[tuple[int, int, int, int]]) -> Recording:
    t, x, y, p = np.array(events, dtype=np.int64).reshape(-1, 4).T
    return Recording(t, x, y, p, (WIDTH, HEIGHT))


def reference(events: list[tuple[int, int, int, int]], rule: dict[str, Any], options: dict[str, Any]) -> np.ndarray:
    """Bin one event after the other."""
    left, top, width, height = options["crop"] or (0, 0, WIDTH, HEIGHT)
    side, polarity = options["downsample"], options["polarity"]
    first, last = events[0][0], events[-1][0]
    found: dict[tuple[int, int, int, int], int] = {}
    kept = highest = 0
    for t, x, y, p in events:
        column, row = x - left, y - top
        if not (0 <= column < width and 0 <= row < height):
            continue
        if (polarity == "on" and p == 0) or (polarity == "off" and p == 1):
            continue
        if "count" in rule:
            k = rule["count"] * (t - first) // (last - first + 1)
        elif "microseconds" in rule:
            k = (t - (first if rule["start"] is None else rule["start"])) // rule["microseconds"]
        else:
            k = kept // rule["events"]
        kept += 1
        highest = max(highest, k + 1)
        place = (k, p if polarity == "channels" else 0, row // side, column // side)
        found[place] = found.get(place, 0) + (2 * p - 1 if polarity == "signed" else 1)
    number = options["steps"] or rule.get("count") or highest
    frames = np.zeros((number, 2 if polarity == "channels" else 1, (height - 1) // side + 1, (width - 1) // side + 1))
    for place, value in found.items():
        if 0 <= place[0] < number:
            frames[place] = value if options["values"] == "counts" else (value > 0) - (value < 0)
    return frames


@given(RECORDINGS, RULES, OPTIONS)
def test_frames_are_those_counted_by_hand(events: Any, rule: dict[str, Any], options: dict[str, Any]) -> None:
    bins = Bins(**rule, **options)
    np.testing.assert_array_equal(bins.frames(made(events)), reference(events, rule, options))
    filled = np.zeros(reference(events, rule, options).shape, np.float32)
    np.testing.assert_array_equal(bins.frames(made(events), filled), reference(events, rule, options))


@given(RECORDINGS, RULES, OPTIONS, st.lists(st.integers(0, 40), max_size=5))
def test_a_stream_in_any_parts_gives_the_frames_of_the_whole(
    events: Any, rule: dict[str, Any], options: dict[str, Any], cuts: list[int]
) -> None:
    bins, recording = Bins(**rule, **options), made(events)
    places = [0, *sorted(min(cut, len(events)) for cut in cuts), len(events)]
    parts = [recording[a:b] for a, b in itertools.pairwise(places)]
    stream = Stream(recording.sensor, ((part.t, part.x, part.y, part.p) for part in parts))
    span = (events[0][0], events[-1][0]) if "count" in rule else None
    found = list(bins.stream(stream, span))
    whole = bins.frames(recording)
    assert len(found) == len(whole)
    for frame, expected in zip(found, whole, strict=True):
        np.testing.assert_array_equal(frame, expected, strict=True)


def test_a_step_of_the_chip_gets_the_events_of_its_bin() -> None:
    recording = made([(0, 1, 1, 1), (0, 1, 1, 1), (250, 2, 3, 0), (999, 4, 4, 1)])
    bins = Bins(count=4)
    frames = bins.frames(recording).astype(np.float32)
    sent = Events(4).encode(torch.from_numpy(frames[None])).numpy()
    assert sent.shape == (4, 1, 2, HEIGHT, WIDTH)
    assert [tuple(place) for place in np.argwhere(sent)] == [(0, 0, 1, 1, 1), (1, 0, 0, 3, 2), (3, 0, 1, 4, 4)]
    assert bins.step(recording) == 250
    assert Bins(microseconds=100).step(recording) == 100
    assert Bins(events=2).step(recording) is None


def test_an_empty_recording_is_silent() -> None:
    empty = made([])
    assert Bins(count=3).frames(empty).sum() == 0
    assert Bins(microseconds=10).frames(empty).shape == (0, 2, HEIGHT, WIDTH)
    nothing = Stream((WIDTH, HEIGHT), [])
    assert len(list(Bins(microseconds=10, steps=4).stream(nothing))) == 4


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({}, "exactly one"),
        ({"count": 1, "events": 1}, "exactly one"),
        ({"count": 0}, "count = 0"),
        ({"count": 1.5}, "count = 1.5"),
        ({"events": 5, "downsample": 0}, "downsample = 0"),
        ({"events": 5, "start": 3}, "start belongs"),
        ({"microseconds": 5, "start": -3}, "not negative"),
        ({"count": 1, "values": "float"}, "values"),
        ({"count": 1, "polarity": "up"}, "polarity"),
    ],
)
def test_what_makes_no_bins_is_refused(arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        Bins(**arguments)


def test_bins_refuse_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = made([(0, 0, 0, 0), (2**52, 0, 0, 0)])
    for crop in ((-1, 0, 2, 2), (0, 0, 8, 5), (0, 0, 0, 1), (3, 3, 5, 1)):
        with pytest.raises(InputError, match="does not lie within a sensor of 7 x 5"):
            Bins(count=1, crop=crop).frames(recording)
    with pytest.raises(InputError, match="GiB"):
        Bins(microseconds=1).frames(recording)
    with pytest.raises(InputError, match="64 bits"):
        Bins(count=2**12, steps=1).frames(recording)
    with pytest.raises(InputError, match="to fill"):
        Bins(count=2).frames(recording, np.zeros((1, 2, HEIGHT, WIDTH)))
    stream = Stream((WIDTH, HEIGHT), [(recording.t, recording.x, recording.y, recording.p)])
    with pytest.raises(InputError, match="span"):
        next(Bins(count=2).stream(stream))
    with pytest.raises(InputError, match="outside of the span"):
        next(Bins(count=2).stream(stream, (0, 5)))
    monkeypatch.setattr(places, "MOST_BYTES", 10)
    with pytest.raises(InputError, match="GiB"):
        Bins(count=1).frames(recording)
