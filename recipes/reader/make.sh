#!/bin/sh
# The attribute reader again, from public data: recipes/reader/make.sh CDD_CESM_FOLDER OUT
set -e
mam-e prepare cdd-cesm "$1" "$2/real"
mam-e train attributes "phantom:2500:11 + 3*$2/real + 2*shrunk:$2/real" "$2/reader"
python "$(dirname "$0")/measure.py" "$2/reader/model" "$2/real"
