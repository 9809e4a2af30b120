"""Speech to text on the spoken samples, with the real decoder."""

from __future__ import annotations

import base64
import contextlib
import io
import wave

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models.transcriber import MAX_SECONDS, RATE, Transcriber, pcm_of

pytestmark = pytest.mark.slow

PRAISE = "i love this wonderful library it makes my work a great pleasure"
COMPLAINT = "the hotel was terrible and the staff were very rude"


@pytest.fixture(scope="module")
def transcriber() -> Transcriber:
    return Transcriber()


def word_error(expected: str, heard: str) -> float:
    """Levenshtein distance in words over the number of expected words."""
    wanted, found = expected.split(), heard.split()
    row = list(range(len(found) + 1))
    for i, word in enumerate(wanted, 1):
        previous, row = row, [i]
        for j, other in enumerate(found, 1):
            row.append(min(row[-1] + 1, previous[j] + 1, previous[j - 1] + (word != other)))
    return row[-1] / len(wanted)


def wav(seconds: float = 0.1, rate: int = RATE, channels: int = 1, width: int = 2) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setframerate(rate)
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.writeframes(bytes(int(seconds * rate) * channels * width))
    return out.getvalue()


def test_the_samples_are_understood(
    transcriber: Transcriber, praise: bytes, complaint: bytes
) -> None:
    for sample, expected in ((praise, PRAISE), (complaint, COMPLAINT)):
        reply = transcriber.predict(sample)
        assert reply["session"] == "default"
        assert word_error(expected, reply["transcript"]) <= 0.1, reply


def test_a_wav_in_json_keeps_the_speakers_session(
    transcriber: Transcriber, complaint: bytes
) -> None:
    audio = base64.b64encode(complaint).decode()
    reply = transcriber.predict({"audio": audio, "session": "ada"})
    assert reply["session"] == "ada"
    assert "terrible" in reply["transcript"].split()


@pytest.mark.slow
def test_what_one_speaker_says_does_not_change_how_the_next_is_heard(
    transcriber: Transcriber, complaint: bytes, praise: bytes
) -> None:
    # The decoder's score shows what it carries over, long before a word changes.
    transcriber.predict(praise)
    transcriber.predict(complaint)
    used = transcriber._decoder.hyp()
    new = Transcriber()
    new.predict(complaint)
    fresh = new._decoder.hyp()
    assert (used.hypstr, used.score) == (fresh.hypstr, fresh.score)


@pytest.mark.parametrize(
    ("audio", "says"),
    [
        (wav(rate=8000), "8000 Hz, 1 channel, 16 bit"),
        (wav(channels=2), "16000 Hz, 2 channels, 16 bit"),
        (wav(width=1), "16000 Hz, 1 channel, 8 bit"),
        (b"", "0 bytes"),
        (b"ID3\x03 this is an mp3", "RIFF"),
        (wav()[:20], "sox INPUT -r 16000"),
    ],
)
def test_another_format_is_refused_with_the_command_that_converts_it(
    transcriber: Transcriber, audio: bytes, says: str
) -> None:
    with pytest.raises(ValueError, match="sox INPUT -r 16000 -c 1 -b 16") as caught:
        transcriber.predict(audio)
    assert says in str(caught.value)


def test_an_empty_and_an_endless_recording_are_refused(transcriber: Transcriber) -> None:
    with pytest.raises(ValueError, match="holds no audio"):
        transcriber.predict(wav(seconds=0))
    assert len(pcm_of(wav(seconds=MAX_SECONDS))) == MAX_SECONDS * RATE * 2
    with pytest.raises(ValueError, match=f"longer than {MAX_SECONDS} s"):
        transcriber.predict(wav(seconds=MAX_SECONDS + 0.01))


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (None, "got null"),
        ("hello", "got text of 5 characters"),
        ([1], "got a list of 1"),
        ({}, "needs the field 'audio'"),
        ({"audio": 7}, "holds a number"),
        ({"audio": "no base64!"}, "base64 -w0 FILE.wav"),
        ({"audio": "\u00e9"}, "base64 -w0 FILE.wav"),
        ({"audio": "", "session": ""}, "session name"),
        ({"audio": "", "session": "x" * 201}, "session name"),
    ],
)
def test_a_malformed_request_says_what_was_expected(
    transcriber: Transcriber, request_: object, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        transcriber.predict(request_)


def test_a_failed_request_leaves_the_transcriber_usable(
    transcriber: Transcriber, complaint: bytes
) -> None:
    with pytest.raises(ValueError, match="sox"):
        transcriber.predict(b"noise")
    assert word_error(COMPLAINT, transcriber.predict(complaint)["transcript"]) <= 0.1


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_header_is_an_error_a_person_can_read(data: st.DataObject) -> None:
    audio = bytearray(wav(seconds=0.01))
    for _ in range(data.draw(st.integers(1, 6))):
        audio[data.draw(st.integers(0, 47))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(audio)))
    # Any other exception would fail the test.
    with contextlib.suppress(ValueError):
        assert pcm_of(bytes(audio[:cut]))
