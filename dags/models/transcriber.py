"""Speech to text, with PocketSphinx and the English model in its wheel."""

from __future__ import annotations

import base64
import binascii
import io
import wave
from typing import Any

from pocketsphinx import Decoder

from models.fields import DEFAULT_SESSION, kind_of, object_of, session_of, text_of

RATE = 16_000
"""Samples a second that the acoustic model was trained on."""

MAX_SECONDS = 60
"""Longest utterance. Decoding takes some 0.15 to 0.3 of its length on one core."""

_WHO = "the transcriber"
_CONVERT = "convert it with: sox INPUT -r 16000 -c 1 -b 16 -e signed-integer OUTPUT.wav"


class Transcriber:
    """Answers a spoken English utterance with its words.

    A request is a WAV file as bytes (16 kHz, mono, 16-bit PCM, at most :data:`MAX_SECONDS`), or
    ``{"audio": "<the WAV in base64>", "session": "<speaker>"}``. A reply is
    ``{"session": str, "transcript": str}``, in lower case, without punctuation, and empty where
    nothing was understood.
    """

    def __init__(self) -> None:
        self._decoder = Decoder(samprate=RATE, loglevel="FATAL")

    def predict(self, request: Any) -> dict[str, str]:
        session, audio = _session_and_wav(request)
        return {"session": session, "transcript": self._decode(pcm_of(audio))}

    def _decode(self, pcm: bytes) -> str:
        # The decoder adapts to the voice it heard last. Without this, a transcript would depend
        # on what other speakers said before; with it, it is that of a new decoder, in no time.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        try:
            self._decoder.process_raw(pcm, no_search=False, full_utt=True)
        finally:
            self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return str(hypothesis.hypstr).strip() if hypothesis else ""


def _session_and_wav(request: Any) -> tuple[str, bytes]:
    if isinstance(request, bytes):
        return DEFAULT_SESSION, request
    fields = object_of(request, _WHO, '{"audio": "<a WAV in base64>"} or the bytes of a WAV')
    session, encoded = session_of(fields, _WHO), text_of(fields, "audio", _WHO)
    try:
        return session, base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:  # not base64, or not even ASCII
        raise ValueError(
            f"the field 'audio' is not base64 ({error}); encode the WAV with: base64 -w0 FILE.wav"
        ) from None


def pcm_of(audio: bytes) -> bytes:
    """The samples of a 16 kHz mono 16-bit WAV; ValueError for anything else."""
    try:
        with wave.open(io.BytesIO(audio)) as file:
            shape = (file.getframerate(), file.getnchannels(), file.getsampwidth())
            if shape != (RATE, 1, 2):
                rate, channels, width = shape
                raise ValueError(
                    f"{_WHO} needs a WAV of {RATE} Hz, 1 channel, 16 bit; this one has {rate} Hz, "
                    f"{channels} channel{'s' if channels != 1 else ''}, {8 * width} bit; {_CONVERT}"
                )
            pcm: bytes = file.readframes(RATE * MAX_SECONDS + 1)
    except (wave.Error, EOFError, RuntimeError) as error:
        # A chunk that claims to be longer than the file is a bare EOFError or RuntimeError.
        reason = str(error) or "it ends too early"
        raise ValueError(
            f"{_WHO} needs a PCM WAV file, but {kind_of(audio)} came that are none ({reason}); "
            f"{_CONVERT}"
        ) from None
    pcm = pcm[: len(pcm) // 2 * 2]
    if not pcm:
        raise ValueError("the WAV holds no audio; record at least one word")
    if len(pcm) > RATE * 2 * MAX_SECONDS:
        raise ValueError(f"the WAV is longer than {MAX_SECONDS} s; send it in shorter pieces")
    return pcm
