#!/bin/sh
# Speaks the sample sentences: writes the WAV files beside this script. They are kept in git, so
# only somebody who changes a sentence runs it. Needs Debian's packages flite and sox.
#
# This voice and this pace PocketSphinx transcribes word for word; espeak-ng's voice it does not.
set -eu
cd "$(dirname "$0")"

say() { # NAME SENTENCE
    flite -voice rms --setf duration_stretch=1.2 -t "$2" -o "$1.raw.wav"
    # -R and -D: the same bytes every time.
    sox -R -D "$1.raw.wav" -r 16000 -c 1 -b 16 "$1.wav" pad 0.2 0.3
    rm "$1.raw.wav"
}

say praise "I love this wonderful library. It makes my work a great pleasure."
say complaint "The hotel was terrible and the staff were very rude."
