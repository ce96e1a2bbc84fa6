#!/bin/sh
# Makes the two pieces of speech again, beside this script. Needs Debian's packages pocketsphinx-testdata and sox.
set -eu
out=$(dirname "$0")
data=${1:-/usr/share/pocketsphinx/test/data}
parts=$(mktemp -d)
trap 'rm -r "$parts"' EXIT

book="$data/librivox/sense_and_sensibility_01_austen_64kb"
sox -D "$book-0870.wav" "$book-0880.wav" "$book-0890.wav" "$book-0920.wav" "$book-0930.wav" \
    "$out/reader.wav" gain -n -3

# Single sentences, recorded at different levels: bring each to the same peak and put a breath between them.
for name in cards/005.wav goforward.raw cards/002.wav numbers.raw cards/001.wav something.raw cards/003.wav; do
    case $name in
        *.raw) format='-t raw -r 16000 -c 1 -e signed -b 16' ;;
        *) format= ;;
    esac
    count=$(ls "$parts" | wc -l)
    # $format is several words on purpose.
    sox -D $format "$data/$name" "$parts/$count.wav" gain -n -4 pad 0 0.35
done
sox -D "$parts"/*.wav "$out/commands.wav"
