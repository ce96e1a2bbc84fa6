#!/bin/sh
# Makes DejaVuSans.ttf again out of the Debian package fonts-dejavu-core: only the characters that a chart may need.
# Needs pyftsubset of fonttools.
set -eu
cd "$(dirname "$0")"
pyftsubset /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf --output-file=DejaVuSans.ttf \
    --unicodes="U+0020-007E,U+00A0-00FF,U+0391-03A9,U+03B1-03C9,U+2009,U+2013,U+2014,U+2018,U+2019,U+201C,U+201D,U+2022,U+2026,U+2070,U+2074-2079,U+207B,U+2080-2089,U+2190-2193,U+2212,U+221A,U+221E,U+2248,U+2264,U+2265" \
    --no-hinting --layout-features=kern --legacy-kern --name-IDs='*'
